package dev.mobileexport.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class WordPieceTest {
    private fun assertIds(
        text: String,
        vararg ids: Int,
        tokenizer: Tokenizer = TinyTokenizer.of(),
        truncated: Boolean = false,
    ) {
        val found = tokenizer.encode(text)
        assertArrayEquals(text, intArrayOf(2) + ids + 3, found.ids)
        assertEquals(text, truncated, found.truncated)
    }

    @Test
    fun cutsWordsIntoTheLongestPieces() {
        assertIds("")
        assertIds("The cats sat!", 5, 6, 7, 8, 12)
        assertIds("UNAFFABLE, unaffablex", 9, 10, 11, 13, 9, 10, 11, 26)
    }

    @Test
    fun stripsAccentsHoweverTheyAreWritten() {
        assertIds("caf\u00e9 cafe\u0301", 17, 17)
        assertIds("caf\u00e9 CAFE", 17, 1, tokenizer = TinyTokenizer.of(lowercase = false))
        assertIds("caf\u00e9 CAF\u00c9", 18, 18, tokenizer = TinyTokenizer.of(stripAccents = false))
        assertIds("caf\u00e9 Caf\u00e9", 18, 1, tokenizer = TinyTokenizer.of(lowercase = false, stripAccents = false))
    }

    @Test
    fun lowersOneCharacterIntoTwo() {
        assertIds("\u0130", 22)
        assertIds("\u0130", 22, 23, tokenizer = TinyTokenizer.of(stripAccents = false))
    }

    @Test
    fun putsSpacesAroundIdeographs() {
        assertIds("\u4e2d\u6587a", 15, 16, 19)
        assertIds("\u4e2d\u6587", 1, tokenizer = TinyTokenizer.of(handleChineseChars = false))
    }

    @Test
    fun dropsControlCharactersAndKnowsSpaces() {
        assertIds("a\u0000b a\u00adb", 19, 21, 19, 21)
        assertIds("a\u000bb a\u200bb", 19, 21, 19, 21)
        assertIds("the\u00a0cat\u2003sat\u3000a", 5, 6, 8, 19)
        assertIds("a\u0000b the\u00a0cat", 1, 5, 6, tokenizer = TinyTokenizer.of(cleanText = false))
        assertIds("a\u200bb", 1, tokenizer = TinyTokenizer.of(cleanText = false))
    }

    @Test
    fun replacesLoneSurrogates() {
        // The replacement is U+FFFD, which clean_text drops.
        assertIds("a\ud800b a\udc00\ud800b", 19, 21, 19, 21)
        val named = TinyTokenizer.of(TinyTokenizer.json(), TinyTokenizer.SPEC.copy(loneSurrogates = "bb"))
        assertIds("a\ud83d", 19, 21, 21, tokenizer = named)
        assertIds("a\ud83d\ude00", 1, tokenizer = named)
    }

    @Test
    fun givesUpOnOverlongWords() {
        assertIds("q" + "x".repeat(99), 27, *IntArray(13) { 26 }, truncated = true)
        assertIds("q" + "x".repeat(100), 1)
        val three = TinyTokenizer.of(TinyTokenizer.json().with("model.max_input_chars_per_word", json(3)))
        assertIds("abb abbb", 19, 21, 21, 1, tokenizer = three)
    }

    @Test
    fun cutsTheTextAndKeepsTheSpecialTokens() {
        assertIds("the ".repeat(14), *IntArray(14) { 5 })
        assertIds("the ".repeat(15), *IntArray(14) { 5 }, truncated = true)
        assertIds("the [SEP]".repeat(8), 5, 3, 5, 3, 5, 3, 5, 3, 5, 3, 5, 3, 5, 3, truncated = true)
    }

    @Test
    fun findsSpecialTokensInTheText() {
        assertIds("[CLS] x [SEP]", 2, 1, 3)
        assertIds("the[MASK]cat", 5, 4, 6)
        assertIds("[mask]", 1, 1, 1)
    }

    @Test
    fun addedTokensTakeTheSpacesBesideThem() {
        val with = { flag: String -> TinyTokenizer.of(TinyTokenizer.json(TinyTokenizer.added(28, "\u0301 m", flag))) }
        // Without the space it would be no token: the normalizer would drop the accent.
        assertIds("the \u0301 m \u0301 m", 5, 28, 28, tokenizer = with("lstrip"))
        assertIds("the\u0301 m\u3000cat", 5, 28, 6, tokenizer = with("rstrip"))
    }

    @Test
    fun stripsNothingTwice() {
        val added = TinyTokenizer.added(28, "<m>", "lstrip", "rstrip", "special")
        val tokenizer = TinyTokenizer.of(TinyTokenizer.json(added))
        assertIds("the  <m>  <m>  cat", 5, 28, 28, 6, tokenizer = tokenizer)
    }

    @Test
    fun singleWordsStandAlone() {
        val tokenizer = TinyTokenizer.of(TinyTokenizer.json(TinyTokenizer.added(28, "<m>", "single_word")))
        assertIds("a<m>b <m> b", 19, 1, 1, 1, 20, 28, 20, tokenizer = tokenizer)
    }

    @Test
    fun normalizedTokensAreFoundInTheNormalizedText() {
        val late = TinyTokenizer.of(TinyTokenizer.json(TinyTokenizer.added(28, "New York", "normalized")))
        assertIds("New York NEW YORK new yorks", 28, 28, 28, 1, tokenizer = late)
        val early = TinyTokenizer.of(TinyTokenizer.json(TinyTokenizer.added(28, "New York")))
        assertIds("New York NEW YORK", 28, 1, 1, tokenizer = early)
        val accents = TinyTokenizer.of(TinyTokenizer.json(TinyTokenizer.added(28, "\u00c9t\u00e9", "normalized")))
        assertIds("\u00c9t\u00e9 ete e\u0301te\u0301", 28, 28, 28, tokenizer = accents)
    }

    @Test
    fun prefersTheLongestTokenAtAPlace() {
        val file = TinyTokenizer.json(TinyTokenizer.added(28, "[X"), TinyTokenizer.added(29, "[X]x"))
        assertIds("[X]x [X", 29, 28, tokenizer = TinyTokenizer.of(file))
    }

    @Test
    fun isFastOnLongTexts() {
        val tokenizer = TinyTokenizer.of(TinyTokenizer.json(), TinyTokenizer.SPEC.copy(maxLength = 20_000))
        val parts =
            listOf("aaaaaaaaaa", "a a a a a ", "\u0301\u0323\u0301\u0323", "[[[[[[[[[[", "\u302e\u05b0\u302e\u05b0")
        val texts = parts.map { it.repeat(10_000 / it.length) }
        texts.forEach(tokenizer::encode)
        val start = System.nanoTime()
        texts.forEach(tokenizer::encode)
        val milliseconds = (System.nanoTime() - start) / 1_000_000
        // A quadratic step would take seconds.
        assertTrue("$milliseconds ms", milliseconds < 500)
    }
}
