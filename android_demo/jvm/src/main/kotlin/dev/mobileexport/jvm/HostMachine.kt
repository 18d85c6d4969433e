package dev.mobileexport.jvm

import dev.mobileexport.core.Machine
import java.io.File

/** Which processor this is; int8 results depend on its instruction sets. */
internal object HostMachine {
    // As runtime/processor.py names them.
    private val FEATURES =
        listOf(
            "avx2",
            "avx_vnni",
            "avx512f",
            "avx512_vnni",
            "avx512_bf16",
            "amx_int8",
            "asimd",
            "asimddp",
            "i8mm",
            "sve",
            "sme",
        )
    private val ARCHITECTURES = mapOf("amd64" to "x86_64", "aarch64" to "arm64")

    /** This machine; without features where the system does not tell. */
    fun read(): Machine {
        val architecture = System.getProperty("os.arch")
        val lines = File("/proc/cpuinfo").takeIf { it.isFile }?.readLines().orEmpty()
        val fields = lines.associate { it.substringBefore(':').trim() to it.substringAfter(':').trim() }
        val flags = (fields["flags"] ?: fields["Features"]).orEmpty().split(' ').toSet()
        return Machine(
            architecture = ARCHITECTURES[architecture] ?: architecture,
            processor = fields["model name"].orEmpty(),
            features = FEATURES.filter { it in flags },
            emulator = "",
        )
    }
}
