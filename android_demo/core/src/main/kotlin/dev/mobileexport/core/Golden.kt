package dev.mobileexport.core

import kotlinx.serialization.json.JsonElement
import java.io.InputStream

/**
 * A text that every device replays.
 *
 * @property name unique, such as `validation/17`.
 * @property set `validation`, `unlabelled`, `boundary` or `awkward`.
 * @property text may hold anything, halves of surrogate pairs too.
 * @property inputIds that the tokenizer must give.
 */
public class GoldenCase(
    public val name: String,
    public val set: String,
    public val text: String,
    public val inputIds: IntArray,
)

/** golden.json of a bundle, as far as a device needs it. */
public class Golden private constructor(public val cases: List<GoldenCase>) {
    public companion object {
        /** Its name in a bundle. */
        public const val FILE: String = "golden.json"
        private const val SCHEMA_VERSION = 1
        private val SETS = listOf("validation", "unlabelled", "boundary", "awkward").associateWith { it }

        /**
         * Read golden.json; the stream stays open.
         *
         * @throws BundleException it is not such a file, or of another version.
         */
        public fun read(stream: InputStream): Golden = read(stream.readBytes())

        internal fun read(bytes: ByteArray): Golden {
            val fields = Fields(parseJson(bytes, FILE), FILE)
            val version = fields.required("schema_version", int)
            if (version != SCHEMA_VERSION) {
                throw BundleException(
                    "$FILE has schema version $version and this app reads $SCHEMA_VERSION; " +
                        "use the release of this app that came with the exporter, or export the bundle again",
                )
            }
            val cases = fields.required("cases", list(::case))
            if (cases.map { it.name }.toSet().size != cases.size) {
                throw BundleException("$FILE has two cases of one name; $EXPORT_AGAIN")
            }
            return Golden(cases)
        }

        // Later versions of the exporter add fields, which do no harm: they are not refused here.
        private fun case(value: JsonElement, where: String): GoldenCase {
            val fields = Fields(value, where)
            return GoldenCase(
                name = fields.required("name", text),
                set = fields.required("set", word(SETS)),
                text = fields.required("text", text),
                inputIds = fields.required("input_ids", list(int)).toIntArray(),
            )
        }
    }
}
