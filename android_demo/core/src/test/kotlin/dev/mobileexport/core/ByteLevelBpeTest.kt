package dev.mobileexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Byte-level BPE of 34 tokens; the expected ids came from Hugging Face's tokenizers 0.23.3. */
class ByteLevelBpeTest {
    private val special = listOf("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    private val merges =
        listOf("h e", "l l", "he ll", "hell o", "\u0120 w", "\u0120w o", "r l", "\u0120wo rl") +
            listOf("' s", "\u00c3 \u00a9", "l d", "s t")
    private val tokens =
        special + "helowrd'st!12\u0120\u00c3\u00a9\u010a".map { it.toString() } + merges.map { it.replace(" ", "") }
    private val spec =
        TinyTokenizer.SPEC.copy(
            type = "BPE",
            vocab = null,
            vocabSize = tokens.size,
            padId = 1,
            padToken = "<pad>",
            clsToken = "<s>",
            sepToken = "</s>",
            unkToken = "<unk>",
            maskToken = "<mask>",
            lowercase = null,
            stripAccents = null,
            cleanText = null,
            handleChineseChars = null,
        )

    private fun file(vararg changes: Pair<String, Any>): JsonElement {
        val added =
            special.mapIndexed { id, token ->
                TinyTokenizer.added(id, token, "special", if (token == "<mask>") "lstrip" else "")
            }
        val plain =
            """{"added_tokens":[${added.joinToString(",")}],"normalizer":null,
            "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
            "post_processor":{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],"trim_offsets":true,
              "add_prefix_space":true},
            "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
              "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false}}"""
        val whole =
            Json.parseToJsonElement(plain)
                .with("model.vocab", JsonObject(tokens.mapIndexed { id, it -> it to JsonPrimitive(id) }.toMap()))
                .with("model.merges", strings(*merges.toTypedArray()))
        return changes.fold(whole) { value, (path, change) ->
            value.with(path, change as? JsonElement ?: json(change))
        }
    }

    private fun tokenizer(file: JsonElement = file(), spec: TokenizerSpec = this.spec) =
        Tokenizers.of(spec) { file.toString().encodeToByteArray() }

    private fun assertIds(text: String, vararg ids: Int, tokenizer: Tokenizer = tokenizer()) =
        assertArrayEquals(text, intArrayOf(0) + ids + 2, tokenizer.encode(text).ids)

    @Test
    fun mergesBytesInOrder() {
        assertIds("")
        assertIds("hello world", 25, 29, 11)
        assertIds("lld", 23, 11)
        assertIds("sts", 33, 13)
        assertIds("h\u00e9 12llo!!", 5, 31, 18, 16, 17, 23, 8, 15, 15)
        val pairs = JsonArray(merges.map { strings(*it.split(' ').toTypedArray()) })
        assertIds("hello world", 25, 29, 11, tokenizer = tokenizer(file("model.merges" to pairs)))
    }

    @Test
    fun cutsAsGpt2sPatternDoes() {
        assertIds("hello  world  ", 25, 18, 29, 11, 18, 18)
        assertIds("hell's worlds'd\n\nhe", 24, 30, 29, 11, 13, 12, 11, 21, 21, 22)
        assertIds("hello\u00a0world", 25, 9, 8, 28, 11)
        assertIds("ld ", 32, 18, tokenizer = tokenizer(file("pre_tokenizer.use_regex" to false)))
    }

    @Test
    fun addsASpaceWhereTheFileSaysSo() {
        val tokenizer = tokenizer(file("pre_tokenizer.add_prefix_space" to true))
        assertIds("world he", 29, 11, 18, 22, tokenizer = tokenizer)
        assertIds(" world he", 29, 11, 18, 22, tokenizer = tokenizer)
        assertIds("", tokenizer = tokenizer)
        assertIds("lo<mask>lo", 18, 7, 8, 4, 18, 7, 8, tokenizer = tokenizer)
    }

    @Test
    fun maskTakesTheSpaceBeforeIt() {
        assertIds("world <mask> he", 9, 8, 28, 11, 4, 18, 22)
        assertIds("<mask>  he", 4, 18, 18, 22)
    }

    @Test
    fun treatsUnknownBytesAsTheFileSays() {
        assertIds("xyzh", 5)
        assertIds("xyzh xh", 3, 3, 3, 5, 18, 3, 5, tokenizer = tokenizer(file("model.unk_token" to "<unk>")))
        val fused = tokenizer(file("model.unk_token" to "<unk>", "model.fuse_unk" to true))
        assertIds("xyzh xh", 3, 5, 18, 3, 5, tokenizer = fused)
    }

    @Test
    fun takesWholeWordsFirstWhereTheFileSaysSo() {
        // Without any merge only the words that are tokens come out whole.
        val whole = tokenizer(file("model.merges" to strings(), "model.ignore_merges" to true))
        assertIds("hello st", 25, 18, 13, 14, tokenizer = whole)
        assertIds("hello", 5, 6, 7, 7, 8, tokenizer = tokenizer(file("model.merges" to strings())))
    }

    @Test
    fun cutsLongTexts() {
        val found = tokenizer().encode("he ".repeat(20))
        assertEquals(16, found.ids.size)
        assertTrue(found.truncated)
        assertEquals(2, found.ids.last())
    }

    @Test
    fun isFastOnOneLongWord() {
        val tokenizer = tokenizer(spec = spec.copy(maxLength = 20_000))
        val text = "hell".repeat(2_500)
        tokenizer.encode(text)
        val start = System.nanoTime()
        assertEquals(2_502, tokenizer.encode(text).ids.size)
        val milliseconds = (System.nanoTime() - start) / 1_000_000
        assertTrue("$milliseconds ms", milliseconds < 500)
    }

    @Test
    fun refusesWhatItDoesNotFollow() {
        val faults =
            listOf(
                "model.end_of_word_suffix" to "</w>" to "end_of_word_suffix is \"</w>\"",
                "model.continuing_subword_prefix" to "##" to "continuing_subword_prefix is \"##\"",
                "model.byte_fallback" to true to "byte_fallback is true",
                "model.dropout" to 0.5 to "dropout is 0.5",
                "pre_tokenizer.type" to "Whitespace" to "pre_tokenizer is Whitespace",
                "normalizer" to Json.parseToJsonElement("""{"type":"NFC"}""") to "normalizer is NFC",
                "model.merges" to strings("h x") to "merges \"hx\", which is no token",
                "model.merges" to strings("hello") to "is not two tokens",
                "model.unk_token" to "<nix>" to "has no token <nix>",
                "post_processor.type" to "Bert2" to "post_processor is Bert2",
            )
        for ((change, what) in faults) assertRefused(what) { tokenizer(file(change)) }
    }
}
