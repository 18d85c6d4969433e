package dev.mobileexport.core

import kotlinx.serialization.json.JsonPrimitive

/**
 * A bundle that cannot be used, or a model of it that cannot be run.
 *
 * @param message one sentence for the user: what is wrong and what to do.
 * @param cause what was caught, if anything was.
 */
public class BundleException(message: String, cause: Throwable? = null) : Exception(message, cause)

/** What a bundle says, for a sentence: short, in quotation marks and without line breaks. */
internal fun quoted(value: String): String = JsonPrimitive(value.take(MOST_QUOTED)).toString()

private const val MOST_QUOTED = 80

/** What helps against almost every damage. */
internal const val EXPORT_AGAIN: String = "export the bundle again, or copy it again"
