package dev.mobileexport.jvm

import dev.mobileexport.core.BundleException
import java.lang.foreign.Arena
import java.lang.foreign.FunctionDescriptor
import java.lang.foreign.Linker
import java.lang.foreign.MemoryLayout
import java.lang.foreign.MemorySegment
import java.lang.foreign.SymbolLookup
import java.lang.foreign.ValueLayout.ADDRESS
import java.lang.foreign.ValueLayout.JAVA_INT
import java.lang.foreign.ValueLayout.JAVA_LONG
import java.lang.invoke.MethodHandle
import java.nio.file.Path

/**
 * LiteRT's C library, called through Java's own foreign function interface.
 *
 * It is the library that Android's LiteRT package wraps. A C type follows from the argument's Kotlin
 * type: [MemorySegment] is a pointer, [Long] a `size_t`, [Int] an `int` or an enumeration.
 *
 * Not safe for use by several threads at once.
 *
 * @param library the file, such as `libLiteRt.so`
 * @throws BundleException if the library cannot be loaded
 */
public class LiteRt(library: Path) : AutoCloseable {
    private val arena: Arena = Arena.ofShared()
    private val handles = HashMap<String, MethodHandle>()
    private val symbols: SymbolLookup =
        try {
            SymbolLookup.libraryLookup(library, arena)
        } catch (error: IllegalArgumentException) {
            arena.close()
            throw BundleException("LiteRT's library cannot be loaded: ${error.message}", error)
        }

    /**
     * Calls a function that returns a status.
     *
     * @throws BundleException if the status is not OK
     */
    public fun call(function: String, vararg arguments: Any) {
        val status = invoke(function, JAVA_INT, arguments) as Int
        if (status != OK) {
            val meaning = STATUS[status]?.let { " ($it)" }.orEmpty()
            throw BundleException("LiteRT's $function failed with status $status$meaning")
        }
    }

    /** Calls a function that returns nothing. */
    public fun release(function: String, handle: MemorySegment) {
        invoke(function, null, arrayOf(handle))
    }

    /** Calls a function whose last parameter is the address for a pointer, and returns that. */
    public fun pointer(function: String, vararg arguments: Any): MemorySegment =
        Arena.ofConfined().use { local ->
            val out = local.allocate(ADDRESS)
            call(function, *arguments, out)
            out.get(ADDRESS, 0)
        }

    /** As [pointer], for a `size_t`. */
    public fun size(function: String, vararg arguments: Any): Long =
        Arena.ofConfined().use { local ->
            val out = local.allocate(JAVA_LONG)
            call(function, *arguments, out)
            out.get(JAVA_LONG, 0)
        }

    /** As [pointer], for a string that the library owns. */
    public fun string(function: String, vararg arguments: Any): String =
        cString(pointer(function, *arguments))

    /**
     * Adds options that a part of the runtime reads as text.
     *
     * @param options from `LiteRtCreateOptions`
     * @param part such as `xnnpack`
     * @param text a line `name = value` for each of them
     */
    public fun addOptions(options: MemorySegment, part: String, text: String) {
        val standard = Linker.nativeLinker().defaultLookup()
        Arena.ofConfined().use { local ->
            // The options own their text and free it, so it has to come from C's allocator.
            val copy = invokeHandle(
                Linker.nativeLinker().downcallHandle(
                    standard.find("strdup").get(),
                    FunctionDescriptor.of(ADDRESS, ADDRESS),
                ),
                listOf(local.allocateFrom(text)),
            ) as MemorySegment
            val free = standard.find("free").get()
            val opaque =
                pointer("LiteRtCreateOpaqueOptions", local.allocateFrom(part), copy, free)
            call("LiteRtAddOpaqueOptions", options, opaque)
        }
    }

    /** Unloads the library; nothing that came from it may be used any more. */
    override fun close() {
        arena.close()
    }

    private fun invoke(function: String, result: MemoryLayout?, arguments: Array<out Any>): Any? {
        val handle = handles.getOrPut(function) {
            val symbol = symbols.find(function).orElseThrow {
                BundleException("LiteRT's library has no function $function; use the pinned version")
            }
            val layouts = arguments.map(::layoutOf).toTypedArray()
            val descriptor =
                if (result == null) {
                    FunctionDescriptor.ofVoid(*layouts)
                } else {
                    FunctionDescriptor.of(result, *layouts)
                }
            Linker.nativeLinker().downcallHandle(symbol, descriptor)
        }
        return invokeHandle(handle, arguments.asList())
    }

    private fun invokeHandle(handle: MethodHandle, arguments: List<Any>): Any? =
        handle.invokeWithArguments(arguments)

    private fun layoutOf(argument: Any): MemoryLayout =
        when (argument) {
            is MemorySegment -> ADDRESS
            is Long -> JAVA_LONG
            is Int -> JAVA_INT
            else -> throw IllegalArgumentException("no C type for ${argument::class}")
        }

    // A pointer from C has no length of its own; a string ends at its NUL.
    private fun cString(address: MemorySegment): String =
        address.reinterpret(Long.MAX_VALUE).getString(0)

    private companion object {
        const val OK = 0

        // The library does not export the function that names them.
        val STATUS =
            mapOf(
                1 to "invalid argument",
                2 to "out of memory",
                3 to "runtime failure",
                5 to "unsupported",
                6 to "not found",
                500 to "file cannot be read",
                501 to "not a TFLite file",
                504 to "model cannot be prepared",
            )
    }
}
