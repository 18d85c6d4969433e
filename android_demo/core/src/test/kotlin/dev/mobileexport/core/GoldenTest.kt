package dev.mobileexport.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test
import java.io.ByteArrayInputStream

class GoldenTest {
    private fun read(cases: String, version: String = "1") =
        Golden.read(ByteArrayInputStream("""{"schema_version":$version,"cases":[$cases]}""".encodeToByteArray()))

    private val case = """{"name":"awkward/x","set":"awkward","text":"\ud800","input_ids":[2,3],"later":{}}"""

    @Test
    fun readsCasesAndSkipsWhatItDoesNotKnow() {
        val golden = read(case)
        assertEquals("\ud800", golden.cases.single().text)
        assertArrayEquals(intArrayOf(2, 3), golden.cases.single().inputIds)
    }

    @Test
    fun refusesWhatIsNoGoldenFile() {
        assertRefused("has schema version 2") { read(case, version = "2") }
        assertRefused("two cases of one name") { read("$case,$case") }
        assertRefused("must be one of validation") { read(case.replace("\"set\":\"awkward\"", "\"set\":\"other\"")) }
        assertRefused("is not a whole number") { read(case.replace("[2,3]", "[2,3.5]")) }
        assertRefused("is not JSON") { Golden.read(ByteArrayInputStream("{".encodeToByteArray())) }
    }
}
