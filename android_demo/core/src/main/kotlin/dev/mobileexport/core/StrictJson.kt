package dev.mobileexport.core

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.nio.charset.CharacterCodingException

/** Reads one JSON value as a Kotlin one; the second argument is its place, for messages. */
internal typealias Reader<T> = (JsonElement, String) -> T

/**
 * Parse a file of the bundle.
 *
 * @param name of the file, for messages.
 * @throws BundleException it is not UTF-8, not JSON, or nested too deeply.
 */
internal fun parseJson(bytes: ByteArray, name: String): JsonElement =
    try {
        Json.parseToJsonElement(bytes.decodeToString(throwOnInvalidSequence = true))
    } catch (error: CharacterCodingException) {
        throw BundleException("$name is not UTF-8; $EXPORT_AGAIN", error)
    } catch (error: SerializationException) {
        // The parser's message goes on with the whole file.
        val reason = error.message.orEmpty().lineSequence().first()
        throw BundleException("$name is not JSON ($reason); $EXPORT_AGAIN", error)
    } catch (error: StackOverflowError) {
        throw BundleException("$name is nested too deeply; $EXPORT_AGAIN", error)
    }

/**
 * A JSON object of which every field is asked for by name.
 *
 * @param value must be an object.
 * @param where its place, for messages.
 * @throws BundleException as every function here: a missing or wrongly typed field.
 */
internal class Fields(value: JsonElement, private val where: String) {
    private val fields: JsonObject =
        value as? JsonObject ?: throw BundleException("$where is not a JSON object; $EXPORT_AGAIN")
    private val known = HashSet<String>()

    fun <T> required(name: String, read: Reader<T>): T {
        known += name
        val value = fields[name] ?: throw BundleException("$where lacks the field \"$name\"; $EXPORT_AGAIN")
        return read(value, "$where.$name")
    }

    fun <T> optional(name: String, default: T, read: Reader<T>): T {
        known += name
        val value = fields[name] ?: return default
        return read(value, "$where.$name")
    }

    /** Refuse what nobody asked for: it may change the meaning of all the rest. */
    fun end() {
        val unknown = fields.keys.filter { it !in known }.minOrNull() ?: return
        throw BundleException(
            "$where has the unknown field ${quoted(unknown)}; " +
                "use a release of this app that knows it, or $EXPORT_AGAIN",
        )
    }
}

/** Whatever it is; it is not looked at. */
internal val anything: Reader<Unit> = { _, _ -> }

internal val text: Reader<String> = { value, where ->
    (value as? JsonPrimitive)?.takeIf { it.isString }?.content ?: wrongType(where, "a string")
}

internal val flag: Reader<Boolean> = { value, where ->
    when (literal(value)) {
        "true" -> true
        "false" -> false
        else -> wrongType(where, "true or false")
    }
}

internal val long: Reader<Long> = { value, where ->
    literal(value)?.takeIf(WHOLE::matches)?.toLongOrNull() ?: wrongType(where, "a whole number")
}

internal val int: Reader<Int> = { value, where ->
    val number = long(value, where)
    if (number.toInt().toLong() != number) wrongType(where, "a whole number of at most 31 bits")
    number.toInt()
}

internal val double: Reader<Double> = { value, where ->
    literal(value)?.takeIf(NUMBER::matches)?.toDouble() ?: wrongType(where, "a number")
}

internal fun <T> orNull(read: Reader<T>): Reader<T?> = { value, where ->
    if (value is JsonNull) null else read(value, where)
}

internal fun <T> list(read: Reader<T>): Reader<List<T>> = { value, where ->
    val items = value as? JsonArray ?: wrongType(where, "a list")
    items.mapIndexed { i, item -> read(item, "$where[$i]") }
}

internal fun <T> map(read: Reader<T>): Reader<Map<String, T>> = { value, where ->
    val fields = value as? JsonObject ?: wrongType(where, "an object")
    fields.mapValues { (name, item) -> read(item, "$where[${quoted(name)}]") }
}

/** One of a few words. */
internal fun <T> word(meanings: Map<String, T>): Reader<T> = { value, where ->
    val found = text(value, where)
    meanings[found] ?: throw BundleException(
        "$where is ${quoted(found)} and must be one of ${meanings.keys.joinToString(", ")}; $EXPORT_AGAIN",
    )
}

private val WHOLE = Regex("-?(0|[1-9][0-9]*)")
private val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?")

/** The characters of a literal that is no string and not null. */
private fun literal(value: JsonElement): String? =
    (value as? JsonPrimitive)?.takeIf { !it.isString && it !is JsonNull }?.content

private fun wrongType(where: String, wanted: String): Nothing =
    throw BundleException("$where is not $wanted; $EXPORT_AGAIN")
