package dev.mobileexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class NormalizerTest {
    private fun decomposed(text: String) = Decomposition.of(codePoints(text)).string()

    @Test
    fun decomposesCompletely() {
        assertEquals("\u017f\u0323\u0307", decomposed("\u1e9b\u0323"))
        assertEquals("\u0308\u0301", decomposed("\u0344"))
        assertEquals("\u1100\u1161", decomposed("\uac00"))
        assertEquals("\u1100\u1161\u11a8", decomposed("\uac01"))
        assertEquals("\u1112\u1175\u11c2", decomposed("\ud7a3"))
    }

    @Test
    fun putsMarksInOrderAndKeepsEqualOnes() {
        assertEquals("a\u0323\u0301", decomposed("a\u0301\u0323"))
        assertEquals("a\u0301\u0300", decomposed("a\u0301\u0300"))
        assertEquals("\ud834\udd65\u302e", decomposed("\u302e\ud834\udd65"))
    }

    @Test
    fun ordersMarksBeforeItDropsAccents() {
        val accents =
            BertNormalizer(cleanText = false, handleChineseChars = false, stripAccents = true, lowercase = false)
        // Neither of these two marks is an accent; the accent between them does not part them.
        assertEquals("\ud834\udd65\u302e", accents.normalize(codePoints("\u302e\u0301\ud834\udd65")).string())
    }

    @Test
    fun tablesHoldWhatTheyShould() {
        assertTrue(0x0301 in Unicode.accents)
        assertFalse(0x302e in Unicode.accents)
        assertTrue(0x2028 in Unicode.whitespace)
        assertFalse(0x200b in Unicode.whitespace)
        assertTrue('$'.code in Unicode.punctuation)
        assertTrue(0x10FFFD in Unicode.cleanDropped)
        // An unassigned character stays.
        assertFalse(0x0378 in Unicode.cleanDropped)
        assertTrue(0x20000 in Unicode.chinese)
        assertTrue(0x2A6DF in Unicode.chinese)
        assertFalse(0x2A6E0 in Unicode.chinese)
        assertEquals("i\u0307", Unicode.lowercase[0x130]?.let { IntList().apply { it.forEach(::add) }.string() })
        assertEquals(null, Unicode.lowercase['a'.code])
    }
}
