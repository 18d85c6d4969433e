package dev.mobileexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import org.junit.Assert.assertArrayEquals
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class TokenizersTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private fun parsed(text: String): JsonElement = Json.parseToJsonElement(text)

    @Test
    fun readsTheTokenizerOfABundle() {
        val bundle = TinyBundle(temporary.root).write().open()
        assertArrayEquals(intArrayOf(2, 5, 6, 7, 3), Tokenizers.of(bundle).encode("The CATS").ids)
    }

    @Test
    fun readsOtherFramesThatMeanTheSame() {
        val processor = parsed("""{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]}""")
        val bert = TinyTokenizer.json().with("post_processor", processor)
        assertArrayEquals(intArrayOf(2, 5, 3), TinyTokenizer.of(bert).encode("the").ids)
        val template = TinyTokenizer.json().jsonField("post_processor")
        val sequence = parsed("""{"type":"Sequence","processors":[{"type":"ByteLevel"},$template]}""")
        val inSequence = TinyTokenizer.json().with("post_processor", sequence)
        assertArrayEquals(intArrayOf(2, 5, 3), TinyTokenizer.of(inSequence).encode("the").ids)
    }

    private fun JsonElement.jsonField(name: String): JsonElement = Fields(this, "").required(name) { value, _ -> value }

    @Test
    fun refusesKindsThatItDoesNotHave() {
        val file = TinyTokenizer.json()
        assertRefused("tokenizer is Unigram") { TinyTokenizer.of(file, TinyTokenizer.SPEC.copy(type = "Unigram")) }
        assertRefused("puts [CLS] last") { TinyTokenizer.of(file, TinyTokenizer.SPEC.copy(clsFirst = false)) }
    }

    @Test
    fun refusesFilesThatContradictTheManifest() {
        val faults =
            listOf(
                TinyTokenizer.SPEC.copy(lowercase = false) to "has other flags than manifest.tokenizer",
                TinyTokenizer.SPEC.copy(unkToken = "[MASK]") to "calls unknown words [UNK]",
                TinyTokenizer.SPEC.copy(padId = 1) to "has [UNK] at manifest.tokenizer.pad_id",
                TinyTokenizer.SPEC.copy(maskToken = "<mask>") to "has no token <mask>",
                TinyTokenizer.SPEC.copy(clsToken = "[SEP]", sepToken = "[CLS]") to "does not put [SEP] before a text",
            )
        for ((spec, what) in faults) assertRefused(what) { TinyTokenizer.of(TinyTokenizer.json(), spec) }
        val size = TinyTokenizer.SPEC.copy(vocabSize = 29)
        assertRefused("has 28 tokens and the manifest says 29") {
            Tokenizers.of(size) { TinyTokenizer.json().toString().encodeToByteArray() }
        }
    }

    @Test
    fun refusesAFileThatContradictsItself() {
        val faults =
            listOf(
                TinyTokenizer.json().with("model.vocab.q", json(26)) to "gives the id 26",
                TinyTokenizer.json().with("model.vocab.q", json(40)) to "none has the id 27",
                TinyTokenizer.json().with("added_tokens.0.id", json(1)) to "has the id 1 and in the vocabulary 0",
                TinyTokenizer.json(TinyTokenizer.added(28, "z"), TinyTokenizer.added(29, "z")) to "adds a token twice",
                TinyTokenizer.json(TinyTokenizer.added(28, "\u0301", "normalized")) to "would be found everywhere",
                TinyTokenizer.json().with("model.type", json("BPE")) to "is BPE and the manifest says WordPiece",
                TinyTokenizer.json().with("model", null) to "lacks the field \"model\"",
                TinyTokenizer.json().with("normalizer", parsed("null")) to "normalizer is absent",
                TinyTokenizer.json().with("pre_tokenizer.type", json("Whitespace")) to "pre_tokenizer is Whitespace",
                TinyTokenizer.json().with("post_processor", parsed("null")) to "does not put [CLS] before a text",
                TinyTokenizer.json().with("post_processor.special_tokens.[CLS].ids", parsed("[4]")) to
                    "does not put [CLS] before a text",
            )
        for ((file, what) in faults) assertRefused(what) { TinyTokenizer.of(file) }
    }

    @Test
    fun refusesAVocabularyThatIsNotTheTokenizers() {
        val file = TinyTokenizer.json().toString().encodeToByteArray()
        val swapped = TinyTokenizer.VOCAB.toMutableList().also {
            it[5] = "cat"
            it[6] = "the"
        }
        for (lines in listOf(swapped, TinyTokenizer.VOCAB.dropLast(1), TinyTokenizer.VOCAB + "z")) {
            val vocab = lines.joinToString("") { "$it\n" }.encodeToByteArray()
            assertRefused("vocab.txt has other tokens") {
                Tokenizers.of(TinyTokenizer.SPEC) { if (it == "vocab.txt") vocab else file }
            }
        }
    }
}
