package dev.mobileexport.jvm

import dev.mobileexport.core.Bundle
import dev.mobileexport.core.BundleException
import dev.mobileexport.core.FolderSource
import java.io.File

/**
 * A command with its arguments, told apart.
 *
 * @property command the first word; `help` without one.
 */
internal class Call private constructor(
    val command: String,
    private val words: List<String>,
    private val options: Map<String, String>,
) {
    /** The text after the bundle, if there is one. */
    val text: String? = words.getOrNull(1)

    /** What `--artifact` names. */
    val artifact: String? = options[ARTIFACT]

    /** What `--out` names. */
    val out: File? = options[OUT]?.let(::File)

    /** Opens the bundle, which compares every file with its hash. */
    fun bundle(): Bundle = Bundle.open(source())

    /** The bundle's folder. */
    fun source(): FolderSource {
        val folder = words.firstOrNull() ?: throw BundleException("name the bundle's folder; see: help")
        return FolderSource(File(folder))
    }

    companion object {
        private const val ARTIFACT = "--artifact"
        private const val OUT = "--out"

        /** @throws BundleException an option is not known or has no value. */
        fun parse(arguments: List<String>): Call {
            val words = mutableListOf<String>()
            val options = mutableMapOf<String, String>()
            val left = arguments.drop(1).iterator()
            while (left.hasNext()) {
                val word = left.next()
                if (word == ARTIFACT || word == OUT) {
                    if (!left.hasNext()) throw BundleException("$word needs a value; see: help")
                    options[word] = left.next()
                } else if (word.startsWith("--")) {
                    throw BundleException("there is no option $word; see: help")
                } else {
                    words += word
                }
            }
            return Call(arguments.firstOrNull() ?: "help", words, options)
        }
    }
}
