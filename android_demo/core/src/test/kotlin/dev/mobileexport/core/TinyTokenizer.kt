package dev.mobileexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject

/** A WordPiece tokenizer of 28 tokens; the ids that tests expect came from Hugging Face's tokenizers 0.23.3. */
internal object TinyTokenizer {
    val VOCAB: List<String> =
        (
            "[PAD] [UNK] [CLS] [SEP] [MASK] the cat ##s sat un ##aff ##able ! , . \u4e2d \u6587 cafe caf\u00e9 " +
                "a b ##b i ##\u0307 \u0307 stra\u00dfe ##x q"
            ).split(' ')

    val SPEC =
        TokenizerSpec(
            type = "WordPiece",
            file = "tokenizer.json",
            vocab = "vocab.txt",
            vocabSize = VOCAB.size,
            maxLength = 16,
            padId = 0,
            padSide = PadSide.RIGHT,
            padToken = "[PAD]",
            clsToken = "[CLS]",
            sepToken = "[SEP]",
            unkToken = "[UNK]",
            maskToken = "[MASK]",
            clsFirst = true,
            lowercase = true,
            stripAccents = true,
            cleanText = true,
            handleChineseChars = true,
            loneSurrogates = "\uFFFD",
        )

    /** tokenizer.json with further added tokens, written as the file has them. */
    fun json(vararg added: String): JsonElement {
        val special = VOCAB.take(5).mapIndexed { id, token -> added(id, token, "special") }
        val file =
            """{"version":"1.0","truncation":null,"padding":null,
            "added_tokens":[${(special + added).joinToString(",")}],
            "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
              "strip_accents":null,"lowercase":true},
            "pre_tokenizer":{"type":"BertPreTokenizer"},
            "post_processor":{"type":"TemplateProcessing",
              "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
                {"SpecialToken":{"id":"[SEP]","type_id":0}}],"pair":[],
              "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]},
                "[SEP]":{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}},
            "decoder":null,
            "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
              "max_input_chars_per_word":100}}"""
        val vocab = JsonObject(VOCAB.mapIndexed { id, token -> token to JsonPrimitive(id) }.toMap())
        return Json.parseToJsonElement(file).with("model.vocab", vocab)
    }

    /** An added token with some of the flags single_word, lstrip, rstrip, normalized and special. */
    fun added(id: Int, content: String, vararg flags: String): String {
        val names = listOf("single_word", "lstrip", "rstrip", "normalized", "special")
        val fields = names.map { """"$it":${it in flags}""" }
        return """{"id":$id,"content":${JsonPrimitive(content)},${fields.joinToString(",")}}"""
    }

    /** The tokenizer of a tokenizer.json, with a vocab.txt that fits it. */
    fun of(file: JsonElement = json(), spec: TokenizerSpec = SPEC): Tokenizer {
        val added = file.jsonObject.getValue("added_tokens").jsonArray
        val tokens = VOCAB + added.drop(5).map { Fields(it, "").required("content", text) }
        val vocab = tokens.joinToString("") { "$it\n" }.encodeToByteArray()
        return Tokenizers.of(spec.copy(vocabSize = tokens.size)) { name ->
            if (name == "vocab.txt") vocab else file.toString().encodeToByteArray()
        }
    }

    /** The tokenizer with other flags than the usual ones. */
    fun of(
        lowercase: Boolean = true,
        stripAccents: Boolean = true,
        cleanText: Boolean = true,
        handleChineseChars: Boolean = true,
    ): Tokenizer {
        val flags =
            mapOf(
                "lowercase" to lowercase,
                "strip_accents" to stripAccents,
                "clean_text" to cleanText,
                "handle_chinese_chars" to handleChineseChars,
            )
        val file = flags.entries.fold(json()) { value, (name, on) -> value.with("normalizer.$name", json(on)) }
        val spec =
            SPEC.copy(
                lowercase = lowercase,
                stripAccents = stripAccents,
                cleanText = cleanText,
                handleChineseChars = handleChineseChars,
            )
        return of(file, spec)
    }
}

internal fun strings(vararg values: String): JsonArray = JsonArray(values.map { JsonPrimitive(it) })
