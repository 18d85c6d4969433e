package dev.mobileexport.demo

import android.os.Build
import dev.mobileexport.core.Machine
import java.io.File
import java.io.IOException

/** The device's processor, named as the gate's results file wants it. */
internal object Device {
    /** The gate's names of what Android calls otherwise, as in runtime/processor.py. */
    private val ARCHITECTURES = mapOf("arm64-v8a" to "arm64")

    /** Names of Android's emulators in [Build.HARDWARE]. */
    private val EMULATORS = setOf("ranchu", "goldfish", "cutf_cvm")

    /** Instruction sets that int8 results depend on, by Linux's names, as in runtime/processor.py. */
    private val FEATURES =
        listOf(
            "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8",
            "asimd", "asimddp", "i8mm", "sve", "sme",
        )

    fun machine(): Machine {
        val abi = Build.SUPPORTED_ABIS.first()
        return Machine(
            architecture = ARCHITECTURES[abi] ?: abi,
            processor = "${Build.MANUFACTURER} ${Build.MODEL}",
            features = features(),
            emulator = if (Build.HARDWARE in EMULATORS) "Android emulator (${Build.HARDWARE})" else "",
        )
    }

    /** What matters beside the processor; [litertVersion] comes from Gradle's catalog. */
    fun environment(litertVersion: String): Map<String, String> =
        mapOf(
            "runtime" to "LiteRT",
            "version" to litertVersion,
            "delegate" to "CPU",
            "threads" to LiteRtTextModel.THREADS.toString(),
            "system" to "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})",
        )

    private fun features(): List<String> {
        val lines =
            try {
                File("/proc/cpuinfo").readLines()
            } catch (_: IOException) {
                return emptyList()
            }
        val flags = lines.firstOrNull { it.substringBefore(':').trim() in setOf("flags", "Features") }
        val there = flags?.substringAfter(':')?.trim()?.split(' ').orEmpty().toSet()
        return FEATURES.filter { it in there }
    }
}
