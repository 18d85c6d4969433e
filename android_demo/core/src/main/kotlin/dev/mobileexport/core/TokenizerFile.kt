package dev.mobileexport.core

import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull

/**
 * The parts of tokenizer.json, the file of Hugging Face's tokenizers.
 *
 * @property name of the file, for messages.
 * @property vocab token to id, of the model alone.
 * @property addedTokens found in the text itself.
 */
internal class TokenizerFile private constructor(
    val name: String,
    val vocab: Map<String, Int>,
    val addedTokens: List<AddedToken>,
    private val model: Fields,
    private val normalizer: JsonElement,
    private val preTokenizer: JsonElement,
    private val postProcessor: JsonElement,
) {
    /** A field of the model; [default] where the file leaves it out. */
    fun <T> model(field: String, default: T, read: Reader<T>): T = model.optional(field, default, read)

    /** The normalizer's type and its fields, or null if there is none. */
    fun normalizer(): Pair<String, Fields>? = part(normalizer, "$name.normalizer")

    /** The type of the one pre-tokenizer and its fields. */
    fun preTokenizer(): Pair<String, Fields>? {
        val where = "$name.pre_tokenizer"
        val found = part(preTokenizer, where) ?: return null
        if (found.first != "Sequence") return found
        val steps = found.second.required("pretokenizers", list { step, place -> step to place })
        val (step, place) =
            steps.singleOrNull() ?: throw BundleException(
                "$where has ${steps.size} steps, and this app follows one; " +
                    "use a checkpoint with the tokenizer of its family",
            )
        return part(step, place)
    }

    /** The ids before and after a text. */
    fun frame(): Pair<List<Int>, List<Int>> = frame(postProcessor, "$name.post_processor")

    /** Every token, by id; ids without a gap. */
    fun tokensById(): List<String> {
        val all = HashMap<Int, String>()
        for ((token, id) in vocab.entries.map { it.key to it.value } + addedTokens.map { it.content to it.id }) {
            val other = all.put(id, token)
            if (other != null && other != token) {
                throw BundleException(
                    "$name gives the id $id to ${quoted(other)} and to ${quoted(token)}; $EXPORT_AGAIN",
                )
            }
        }
        return List(all.size) {
            all[it] ?: throw BundleException("$name has ${all.size} tokens and none has the id $it; $EXPORT_AGAIN")
        }
    }

    private fun frame(value: JsonElement, where: String): Pair<List<Int>, List<Int>> {
        val (type, fields) = part(value, where) ?: return NO_FRAME
        return when (type) {
            // It moves offsets, which nobody asks for here.
            "ByteLevel" -> NO_FRAME

            "TemplateProcessing" -> template(fields)

            "BertProcessing", "RobertaProcessing" -> listOf(pairId(fields, "cls")) to listOf(pairId(fields, "sep"))

            "Sequence" -> {
                val frames = fields.required("processors", list(::frame)).filter { it != NO_FRAME }
                frames.singleOrNull() ?: unknownFrame(where, "a sequence of ${frames.size} frames")
            }

            else -> unknownFrame(where, type)
        }
    }

    private fun template(fields: Fields): Pair<List<Int>, List<Int>> {
        val tokens =
            fields.required("special_tokens", map { token, where -> Fields(token, where).required("ids", list(int)) })
        val before = ArrayList<Int>()
        val after = ArrayList<Int>()
        var texts = 0
        val readStep = list { step, where ->
            val parts = Fields(step, where)
            val token = parts.optional("SpecialToken", null) { it, place -> Fields(it, place).required("id", text) }
            if (token == null) {
                parts.required("Sequence", anything)
                texts++
            } else {
                val ids = tokens[token] ?: throw BundleException("$where: no ids for ${quoted(token)}; $EXPORT_AGAIN")
                (if (texts == 0) before else after).addAll(ids)
            }
        }
        fields.required("single", readStep)
        if (texts != 1) unknownFrame("$name.post_processor", "a template with the text $texts times")
        return before to after
    }

    private fun pairId(fields: Fields, name: String): Int =
        fields.required(name) { value, where ->
            val pair = list { part, _ -> part }(value, where)
            if (pair.size != 2) throw BundleException("$where is not a token and its id; $EXPORT_AGAIN")
            int(pair[1], where)
        }

    private fun unknownFrame(where: String, what: String): Nothing =
        throw BundleException(
            "$where is $what, which this app does not follow; use a checkpoint with the tokenizer of its family",
        )

    companion object {
        private val NO_FRAME = emptyList<Int>() to emptyList<Int>()

        /** @throws BundleException it is not such a file, or its model is not of the wanted type. */
        fun read(bytes: ByteArray, name: String, wantedType: String): TokenizerFile {
            val fields = Fields(parseJson(bytes, name), name)
            val model = fields.required("model", ::Fields)
            val type = model.optional("type", "of an unnamed type", text)
            if (type != wantedType) {
                throw BundleException("$name is $type and the manifest says $wantedType; $EXPORT_AGAIN")
            }
            val vocab = model.required("vocab", map(int))
            val readAdded = list { token, where -> added(token, where, vocab) }
            val added = fields.optional("added_tokens", emptyList(), readAdded)
            if (added.map { it.content }.toSet().size != added.size) {
                throw BundleException("$name adds a token twice; $EXPORT_AGAIN")
            }
            return TokenizerFile(
                name = name,
                vocab = vocab,
                addedTokens = added,
                model = model,
                normalizer = fields.optional("normalizer", JsonNull) { value, _ -> value },
                preTokenizer = fields.optional("pre_tokenizer", JsonNull) { value, _ -> value },
                postProcessor = fields.optional("post_processor", JsonNull) { value, _ -> value },
            )
        }

        private fun added(value: JsonElement, where: String, vocab: Map<String, Int>): AddedToken {
            val fields = Fields(value, where)
            val token =
                AddedToken(
                    id = fields.required("id", int),
                    content = fields.required("content", text),
                    singleWord = fields.required("single_word", flag),
                    strippedLeft = fields.required("lstrip", flag),
                    strippedRight = fields.required("rstrip", flag),
                    isNormalized = fields.required("normalized", flag),
                    isSpecial = fields.required("special", flag),
                )
            val own = vocab[token.content]
            if (own != null && own != token.id) {
                throw BundleException(
                    "$where: ${quoted(token.content)} has the id ${token.id} and in the vocabulary $own; $EXPORT_AGAIN",
                )
            }
            return token
        }

        private fun part(value: JsonElement, where: String): Pair<String, Fields>? {
            if (value is JsonNull) return null
            val fields = Fields(value, where)
            return fields.required("type", text) to fields
        }
    }
}
