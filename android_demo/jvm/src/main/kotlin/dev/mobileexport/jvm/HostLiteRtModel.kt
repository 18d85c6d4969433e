package dev.mobileexport.jvm

import dev.mobileexport.core.Artifact
import dev.mobileexport.core.BundleException
import dev.mobileexport.core.TensorSpec
import dev.mobileexport.core.TextModel
import java.io.File
import java.lang.foreign.Arena
import java.lang.foreign.MemorySegment
import java.lang.foreign.MemorySegment.NULL
import java.lang.foreign.ValueLayout.ADDRESS
import java.lang.foreign.ValueLayout.JAVA_FLOAT
import java.lang.foreign.ValueLayout.JAVA_INT
import java.nio.file.Path

/**
 * A TFLite file of a bundle, run by LiteRT on this machine's processor.
 *
 * The counterpart of the app's model class: everything around it is the app's own code. A file has a
 * signature `seq_LENGTH` for each length; inputs and outputs are found by their names in it.
 */
public class HostLiteRtModel private constructor(
    private val litert: LiteRt,
    private val artifact: Artifact,
) : TextModel {
    private val arena = Arena.ofShared()
    private val cleanups = ArrayDeque<() -> Unit>(listOf({ litert.close() }, { arena.close() }))
    private val signatures = HashMap<Int, Signature>()
    private var compiled: MemorySegment = NULL

    /** One length's place in the file, and the memory for its inputs and outputs. */
    private class Signature(
        val index: Long,
        val ids: MemorySegment,
        val mask: MemorySegment,
        val inputs: MemorySegment,
        val output: MemorySegment,
        val outputs: MemorySegment,
        val labels: Int,
    )

    override fun logits(inputIds: IntArray, attentionMask: IntArray): FloatArray {
        check(cleanups.isNotEmpty()) { "the model is closed" }
        val signature =
            signatures[inputIds.size]
                ?: throw BundleException(
                    "${artifact.path} has no length ${inputIds.size}; it has ${signatures.keys.sorted()}",
                )
        write(signature.ids, inputIds)
        write(signature.mask, attentionMask)
        litert.call(
            "LiteRtRunCompiledModel",
            compiled,
            signature.index,
            INPUTS.size.toLong(),
            signature.inputs,
            1L,
            signature.outputs,
        )
        return locked(signature.output, LOCK_READ) { memory ->
            memory.reinterpret(signature.labels * JAVA_FLOAT.byteSize()).toArray(JAVA_FLOAT)
        }
    }

    /** Frees what the library holds; a second call does nothing. */
    override fun close() {
        while (cleanups.isNotEmpty()) cleanups.removeLast()()
    }

    private fun load(file: File, threads: Int) {
        val environment = owned("LiteRtDestroyEnvironment") {
            litert.pointer("LiteRtCreateEnvironment", EnvironmentOptions.COUNT, EnvironmentOptions.allocate(arena))
        }
        val model = owned("LiteRtDestroyModel") {
            litert.pointer("LiteRtCreateModelFromFile", environment, arena.allocateFrom(file.path))
        }
        val options = owned("LiteRtDestroyOptions") { litert.pointer("LiteRtCreateOptions") }
        litert.call("LiteRtSetOptionsHardwareAccelerators", options, ACCELERATOR_CPU)
        litert.addOptions(options, "xnnpack", "num_threads = $threads\n")
        compiled = owned("LiteRtDestroyCompiledModel") {
            litert.pointer("LiteRtCreateCompiledModel", environment, model, options)
        }
        val keys = signatureKeys(model)
        val lengths = artifact.lengths.orEmpty()
        val expected = lengths.map { "seq_$it" }
        if (keys.sorted() != expected.sorted()) {
            throw BundleException(
                "${artifact.path} has the signatures ${keys.sorted()}, the manifest says $expected",
            )
        }
        for (length in lengths) {
            val index = keys.indexOf("seq_$length").toLong()
            signatures[length] = prepare(environment, model, index, length)
        }
    }

    private fun signatureKeys(model: MemorySegment): List<String> =
        (0 until litert.size("LiteRtGetNumModelSignatures", model)).map { index ->
            val signature = litert.pointer("LiteRtGetModelSignature", model, index)
            litert.string("LiteRtGetSignatureKey", signature)
        }

    private fun prepare(
        environment: MemorySegment,
        model: MemorySegment,
        index: Long,
        length: Int,
    ): Signature {
        val signature = litert.pointer("LiteRtGetModelSignature", model, index)
        val inputNames = names(signature, "Input")
        val outputNames = names(signature, "Output")
        val wanted = artifact.outputs.single()
        if (inputNames.sorted() != INPUTS.sorted() || outputNames != listOf(wanted.name)) {
            throw BundleException(
                "${artifact.path} has the inputs $inputNames and the outputs $outputNames, " +
                    "not $INPUTS and [${wanted.name}]",
            )
        }
        // The library counts inputs as the file lists them, which is any order.
        val inputs = inputNames.mapIndexed { place, name ->
            val spec = artifact.inputs.first { it.name == name }
            buffer(environment, signature, index, "Input", place.toLong(), spec, listOf(1, length))
        }
        val labels =
            wanted.shape.last()
                ?: throw BundleException("the manifest gives ${wanted.name} no number of labels")
        val output =
            buffer(environment, signature, index, "Output", 0, wanted, listOf(1, labels))
        return Signature(
            index = index,
            ids = inputs[inputNames.indexOf(INPUT_IDS)],
            mask = inputs[inputNames.indexOf(ATTENTION_MASK)],
            inputs = pointers(inputs),
            output = output,
            outputs = pointers(listOf(output)),
            labels = labels,
        )
    }

    private fun names(signature: MemorySegment, side: String): List<String> =
        (0 until litert.size("LiteRtGetNumSignature${side}s", signature)).map { place ->
            litert.string("LiteRtGetSignature${side}Name", signature, place)
        }

    private fun buffer(
        environment: MemorySegment,
        signature: MemorySegment,
        index: Long,
        side: String,
        place: Long,
        spec: TensorSpec,
        shape: List<Int>,
    ): MemorySegment {
        val tensor = litert.pointer("LiteRtGetSignature${side}TensorByIndex", signature, place)
        val type = TensorType.allocate(arena)
        litert.call("LiteRtGetRankedTensorType", tensor, type)
        val wanted = TensorType(spec.dtype, shape)
        val found = TensorType.read(type)
        if (found != wanted || spec.dtype != DTYPES[side]) {
            throw BundleException(
                "${artifact.path}: ${spec.name} is ${found.dtype} ${found.shape}, " +
                    "the manifest says ${wanted.dtype} ${wanted.shape}, the app needs ${DTYPES[side]}",
            )
        }
        val requirements =
            litert.pointer("LiteRtGetCompiledModel${side}BufferRequirements", compiled, index, place)
        return owned("LiteRtDestroyTensorBuffer") {
            litert.pointer(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                environment,
                type,
                requirements,
            )
        }
    }

    private fun write(buffer: MemorySegment, values: IntArray) {
        locked(buffer, LOCK_WRITE) { memory ->
            memory
                .reinterpret(values.size * JAVA_INT.byteSize())
                .copyFrom(MemorySegment.ofArray(values))
        }
    }

    private fun <T> locked(buffer: MemorySegment, mode: Int, use: (MemorySegment) -> T): T {
        val memory =
            Arena.ofConfined().use { local ->
                val out = local.allocate(ADDRESS)
                litert.call("LiteRtLockTensorBuffer", buffer, out, mode)
                out.get(ADDRESS, 0)
            }
        try {
            return use(memory)
        } finally {
            litert.call("LiteRtUnlockTensorBuffer", buffer)
        }
    }

    private fun pointers(buffers: List<MemorySegment>): MemorySegment {
        val array = arena.allocate(ADDRESS, buffers.size.toLong())
        buffers.forEachIndexed { place, buffer -> array.setAtIndex(ADDRESS, place.toLong(), buffer) }
        return array
    }

    private fun owned(destroyer: String, create: () -> MemorySegment): MemorySegment {
        val handle = create()
        cleanups.addLast { litert.release(destroyer, handle) }
        return handle
    }

    public companion object {
        private const val INPUT_IDS = "input_ids"
        private const val ATTENTION_MASK = "attention_mask"
        private val INPUTS = listOf(INPUT_IDS, ATTENTION_MASK)
        private val DTYPES = mapOf("Input" to "int32", "Output" to "float32")

        // Constants of LiteRT's C headers.
        private const val ACCELERATOR_CPU = 1
        private const val LOCK_READ = 0
        private const val LOCK_WRITE = 1

        /**
         * Loads an artifact.
         *
         * @param library LiteRT's C library
         * @param file of the artifact, already compared with its hash
         * @param artifact the manifest's entry
         * @param threads inside one run; one makes results repeatable
         * @throws BundleException if LiteRT refuses the file, or the file is not what the manifest says
         */
        public fun open(library: Path, file: File, artifact: Artifact, threads: Int = 1): HostLiteRtModel {
            val model = HostLiteRtModel(LiteRt(library), artifact)
            try {
                model.load(file, threads)
            } catch (error: BundleException) {
                model.close()
                throw error
            }
            return model
        }
    }
}
