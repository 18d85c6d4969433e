package dev.mobileexport.demo

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.LiteRtException
import com.google.ai.edge.litert.TensorBuffer
import dev.mobileexport.core.Artifact
import dev.mobileexport.core.BundleException
import dev.mobileexport.core.TextModel

/**
 * A TFLite artifact in LiteRT.
 *
 * The file has one signature per length, `seq_32` and so on. Inputs and the output are addressed by
 * name: their order in the file is the converter's affair and is not the order of the names.
 *
 * Not safe for use by several threads at once.
 */
internal class LiteRtTextModel private constructor(
    private val compiled: CompiledModel,
    private val artifact: Artifact,
    private val output: String,
) : TextModel {
    private val signatures = HashMap<Int, Signature>()

    override fun logits(inputIds: IntArray, attentionMask: IntArray): FloatArray =
        try {
            signatures.getOrPut(inputIds.size) { Signature(inputIds.size) }.run(inputIds, attentionMask)
        } catch (error: LiteRtException) {
            throw BundleException("LiteRT could not run ${artifact.path}: ${error.message}", error)
        }

    override fun close() {
        signatures.values.forEach(Signature::close)
        signatures.clear()
        compiled.close()
    }

    /** The buffers of one length, made when it is first used and used again after that. */
    private inner class Signature(length: Int) : AutoCloseable {
        private val key = "seq_$length"
        private val inputs: Map<String, TensorBuffer> =
            listOf(INPUT_IDS, ATTENTION_MASK).associateWith { compiled.createInputBuffer(it, key) }
        private val outputs: Map<String, TensorBuffer> =
            mapOf(output to compiled.createOutputBuffer(output, key))

        fun run(inputIds: IntArray, attentionMask: IntArray): FloatArray {
            inputs.getValue(INPUT_IDS).writeInt(inputIds)
            inputs.getValue(ATTENTION_MASK).writeInt(attentionMask)
            compiled.run(inputs, outputs, key)
            return outputs.getValue(output).readFloat()
        }

        override fun close() {
            (inputs.values + outputs.values).forEach(TensorBuffer::close)
        }
    }

    companion object {
        private const val INPUT_IDS = "input_ids"
        private const val ATTENTION_MASK = "attention_mask"

        /** As the gate's own session: more threads are faster on a phone, and its figures are of one. */
        const val THREADS: Int = 1

        /**
         * Open an artifact that lies uncompressed among the assets.
         *
         * Android maps such an asset into memory; LiteRT 2.3.0 then copies it once into a buffer of
         * its own (litert_model_jni.cc), so a model needs its size in memory.
         *
         * @param environment outlives the model.
         * @throws BundleException LiteRT refuses the file, or refuses to run it on [accelerator].
         */
        fun open(
            assets: AssetManager,
            assetPath: String,
            artifact: Artifact,
            accelerator: Accelerator,
            environment: Environment,
        ): LiteRtTextModel {
            val output = artifact.outputs.singleOrNull()?.name
            if (output == null || artifact.inputs.map { it.name }.toSet() != setOf(INPUT_IDS, ATTENTION_MASK)) {
                throw BundleException(
                    "${artifact.path} has other inputs or outputs than this app gives and reads; " +
                        "export it again with this project",
                )
            }
            val options = CompiledModel.Options(accelerator)
            if (accelerator == Accelerator.CPU) {
                options.cpuOptions = CompiledModel.CpuOptions(numThreads = THREADS)
            }
            val compiled =
                try {
                    CompiledModel.create(assets, assetPath, options, environment)
                } catch (error: LiteRtException) {
                    throw BundleException(
                        "LiteRT refuses ${artifact.path} on $accelerator: ${error.message}",
                        error,
                    )
                }
            return LiteRtTextModel(compiled, artifact, output)
        }
    }
}
