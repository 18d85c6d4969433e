package dev.mobileexport.jvm

import java.lang.foreign.Arena
import java.lang.foreign.MemorySegment
import java.lang.foreign.ValueLayout.JAVA_INT

/** What a tensor is in the file: compared with what the manifest says. */
internal data class TensorType(val dtype: String, val shape: List<Int>) {
    companion object {
        // A C `LiteRtRankedTensorType`: the element type, the rank in 7 bits, then 8 dimensions and
        // as many strides.
        private const val BYTES = 72L
        private const val ALIGNMENT = 8L
        private const val RANK_OFFSET = 4L
        private const val RANK_MASK = 0x7f
        private const val DIMENSIONS_OFFSET = 8L
        private val NAMES = mapOf(1 to "float32", 2 to "int32", 4 to "int64", 9 to "int8", 10 to "float16")

        /** Memory for the C structure. */
        fun allocate(arena: Arena): MemorySegment = arena.allocate(BYTES, ALIGNMENT)

        /** What the C structure says. */
        fun read(type: MemorySegment): TensorType {
            val element = type.get(JAVA_INT, 0)
            val rank = type.get(JAVA_INT, RANK_OFFSET) and RANK_MASK
            val shape = List(rank) { type.get(JAVA_INT, DIMENSIONS_OFFSET + it * JAVA_INT.byteSize()) }
            return TensorType(NAMES[element] ?: "type $element", shape)
        }
    }
}
