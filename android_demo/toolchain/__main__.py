"""The command line of the tooling."""

from android_demo.toolchain.cli import main

if __name__ == "__main__":
    main()
