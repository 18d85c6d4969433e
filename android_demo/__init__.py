"""The Android demo app; Python sees only its tooling, `android_demo.toolchain`."""
