package dev.mobileexport.jvm

import dev.mobileexport.core.BundleException
import dev.mobileexport.core.Classification
import dev.mobileexport.core.Encoding
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.add
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import java.io.InputStream

/** Texts in and answers out, one JSON value a line, all of it ASCII. */
internal object JsonLines {
    private const val LAST_ASCII = '\u007e'

    /**
     * The strings on a stream, one a line. They may hold any UTF-16 code unit, escaped.
     *
     * @throws BundleException if a line is not a JSON string
     */
    fun texts(stream: InputStream): Sequence<String> =
        stream.bufferedReader(Charsets.UTF_8).lineSequence().mapIndexed { place, line ->
            val value =
                try {
                    Json.parseToJsonElement(line) as? JsonPrimitive
                } catch (_: SerializationException) {
                    null
                }
            if (value == null || !value.isString) {
                throw BundleException("line ${place + 1} of standard input is not a JSON string")
            }
            value.content
        }

    /** Ids of a text. */
    fun line(encoding: Encoding): String =
        ascii(
            buildJsonObject {
                putJsonArray("ids") { encoding.ids.forEach { add(it) } }
                put("truncated", encoding.truncated)
            },
        )

    /** Everything about a text; the probabilities are in the order of the bundle's labels. */
    fun line(answer: Classification): String =
        ascii(
            buildJsonObject {
                putJsonArray("ids") { answer.ids.forEach { add(it) } }
                put("truncated", answer.truncated)
                putJsonArray("logits") { answer.logits.forEach { add(number(it)) } }
                putJsonArray("probabilities") { answer.probabilities.forEach { add(number(it)) } }
                putJsonArray("labels") { answer.labels.forEach { add(it) } }
            },
        )

    // JSON has no word for what is not finite; results.json has these.
    private fun number(value: Float): JsonPrimitive {
        if (value.isNaN()) return JsonPrimitive("nan")
        if (value.isInfinite()) return JsonPrimitive(if (value > 0) "inf" else "-inf")
        // Digits of the double: those of the float would be rounded twice on their way back.
        return JsonPrimitive(value.toDouble())
    }

    // Outside of strings JSON is ASCII already, and within them every code unit may be escaped.
    private fun ascii(value: JsonElement): String =
        buildString {
            for (unit in value.toString()) {
                if (unit <= LAST_ASCII) append(unit) else append("\\u%04x".format(unit.code))
            }
        }
}
