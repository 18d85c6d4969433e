plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "dev.mobileexport.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "dev.mobileexport.demo"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        // For the results file; LiteRT cannot be asked for its version.
        testInstrumentationRunnerArguments["litertVersion"] = libs.versions.litert.get()
        ndk {
            // Phones, and the emulator. LiteRT's libraries for both have 16 KB pages.
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
    }

    buildTypes {
        release {
            // Unsigned: add a signingConfig of your own before you ship it.
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(
                getDefaultProguardFile("proguard-android-optimize.txt"),
                "proguard-rules.pro",
            )
        }
    }

    compileOptions {
        // Kotlin's jvmTarget follows.
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    androidResources {
        // A compressed model cannot be mapped into memory: it would be unpacked onto the heap first.
        noCompress += listOf("tflite")
    }

    packaging {
        jniLibs {
            // Stored and aligned to 16 KB in the APK, as Android 15 and later need them.
            useLegacyPackaging = false
        }
    }

    lint {
        // The catalog is pinned on purpose; what is newer is looked at by hand.
        disable += listOf("AndroidGradlePluginVersion", "GradleDependency", "NewerVersionAvailable")
    }
}

dependencies {
    implementation(project(":core"))
    implementation(libs.litert)
    // The app offers whichever accelerators LiteRT reports. This adds the GPU: ./gradlew -Pgpu …
    if (providers.gradleProperty("gpu").isPresent) {
        implementation(libs.litert.gpu)
    }

    androidTestImplementation(libs.junit)
    androidTestImplementation(libs.androidx.test.core)
    androidTestImplementation(libs.androidx.test.junit)
    androidTestImplementation(libs.androidx.test.runner)
}
