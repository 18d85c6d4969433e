/*
 * Declarations for the compiler only: just what the demo app calls of LiteRT's Kotlin API, so that
 * the app can be type-checked where the real library (com.google.ai.edge.litert:litert:2.3.0)
 * cannot be downloaded. Nothing here runs and nothing of it is packaged; Gradle does not know it.
 *
 * Names, parameters, defaults and results follow google-ai-edge/LiteRT,
 * litert/kotlin/src/main/kotlin/com/google/ai/edge/litert/:
 *   Common.kt at 4312fd6509bbe120ac21b3f7b650c42aea657415 (Accelerator, JniHandle)
 *   Environment.kt at 23dd4f7d240f24b8015c27e207305e2188e44fa7
 *   LiteRtException.kt at 173ea62ee641da11a3b111cdaab4cb565bf309ac
 *   Model.kt at b057fa3c3327eba42cda915be799f097af18f6fa (CompiledModel)
 *   TensorBuffer.kt at 53d158179d0f22c67041cf67aad672e2e41acc8d
 * The tag of 2.3.0 itself could not be looked up; those are the newest versions that could.
 */
@file:Suppress("UNUSED_PARAMETER", "unused")

package com.google.ai.edge.litert

import android.content.res.AssetManager

private fun declarationOnly(): Nothing = throw UnsupportedOperationException("a declaration for the compiler")

public enum class Accelerator(public val value: Int) {
    NONE(0),
    CPU(1),
    GPU(2),
    NPU(3),
}

public abstract class JniHandle internal constructor() : AutoCloseable {
    final override fun close(): Unit = declarationOnly()
}

public class LiteRtException(public val code: Int, message: String) : Exception(message)

public class Environment private constructor() : JniHandle() {
    @Throws(LiteRtException::class)
    public fun getAvailableAccelerators(): Set<Accelerator> = declarationOnly()

    public enum class Option(public val value: Int) {
        CompilerPluginLibraryDir(0),
        DispatchLibraryDir(1),
    }

    public companion object {
        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        public fun create(options: Map<Option, String> = mapOf()): Environment = declarationOnly()
    }
}

public class TensorBuffer internal constructor() : JniHandle() {
    @Throws(LiteRtException::class)
    public fun writeInt(data: IntArray): Unit = declarationOnly()

    @Throws(LiteRtException::class)
    public fun readFloat(): FloatArray = declarationOnly()
}

public class CompiledModel private constructor() : JniHandle() {
    public data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    public class Options(accelerators: Set<Accelerator>) {
        public constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        public var cpuOptions: CpuOptions? = null

        public companion object {
            @JvmStatic public val CPU: Options = Options(Accelerator.CPU)
        }
    }

    @Throws(LiteRtException::class)
    public fun createInputBuffer(inputName: String, signature: String? = null): TensorBuffer = declarationOnly()

    @Throws(LiteRtException::class)
    public fun createOutputBuffer(outputName: String, signature: String? = null): TensorBuffer = declarationOnly()

    @Throws(LiteRtException::class)
    public fun run(
        inputs: Map<String, TensorBuffer>,
        outputs: Map<String, TensorBuffer>,
        signature: String? = null,
    ): Unit = declarationOnly()

    public companion object {
        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        public fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options.CPU,
            optionalEnv: Environment? = null,
        ): CompiledModel = declarationOnly()
    }
}
