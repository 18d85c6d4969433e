// Versions of all plugins in one place. Naming Kotlin here also lifts the Kotlin that is built into
// the Android plugin to the same version.
plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.jvm) apply false
}
