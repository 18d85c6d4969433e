package dev.mobileexport.core

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import java.io.File
import java.io.IOException

/**
 * Where an artifact ran.
 *
 * @property architecture such as `arm64-v8a` or `x86_64`.
 * @property processor such as the phone's model; empty where it is not known.
 * @property features instruction sets by Linux's names.
 * @property emulator its name; empty on real hardware.
 */
public data class Machine(
    val architecture: String,
    val processor: String = "",
    val features: List<String> = emptyList(),
    val emulator: String = "",
)

/** RESULTS.json for `mobile-runtime parity replay`; runtime/parity/results.schema.json describes it. */
public class ReplayResults internal constructor(private val artifacts: List<JsonObject>) {
    /** These results and those of other artifacts in one document. */
    public operator fun plus(other: ReplayResults): ReplayResults = ReplayResults(artifacts + other.artifacts)

    /** The document. */
    public fun toJson(): String = document().toString()

    internal fun document(): JsonObject =
        JsonObject(mapOf("schema_version" to JsonPrimitive(1), "artifacts" to JsonArray(artifacts)))
}

/** Runs the golden cases, from text to labels, and writes down what came out. */
public object Replay {
    /**
     * Run every golden case of a bundle through a classifier.
     *
     * @param bundle with golden.json.
     * @param artifact that the classifier runs.
     * @param classifier of this bundle.
     * @param machine this one.
     * @param environment needs `runtime` and `version`; `delegate`, `threads` and others may follow.
     * @param progress told (cases done, of how many).
     * @throws BundleException golden.json cannot be read, or the model cannot be run.
     */
    public fun run(
        bundle: Bundle,
        artifact: Artifact,
        classifier: TextClassifier,
        machine: Machine,
        environment: Map<String, String>,
        progress: (Int, Int) -> Unit = { _, _ -> },
    ): ReplayResults {
        require("runtime" in environment && "version" in environment) { "environment needs runtime and version" }
        val cases = Golden.read(bundle.readBytes(Golden.FILE)).cases
        val results =
            cases.mapIndexed { i, case ->
                val result = case(case.name, classifier.classify(case.text))
                progress(i + 1, cases.size)
                result
            }
        val entry =
            mapOf(
                "path" to JsonPrimitive(artifact.path),
                "sha256" to JsonPrimitive(artifact.sha256),
                "machine" to machine(machine),
                "environment" to JsonObject(environment.mapValues { JsonPrimitive(it.value) }),
                "cases" to JsonArray(results),
            )
        return ReplayResults(listOf(JsonObject(entry)))
    }

    /**
     * Write the results so that a reader sees all of them or none.
     *
     * @throws IOException the file cannot be written.
     */
    @Throws(IOException::class)
    public fun write(results: ReplayResults, file: File) {
        val folder = file.absoluteFile.parentFile
        val part = File.createTempFile(".${file.name}.", "", folder)
        try {
            part.writeText(results.toJson() + "\n")
            // Windows does not rename onto a file that is there.
            val isThere = part.renameTo(file) || (file.delete() && part.renameTo(file))
            if (!isThere) throw IOException("$file cannot be written")
        } finally {
            part.delete()
        }
    }

    private fun case(name: String, found: Classification): JsonObject =
        JsonObject(
            mapOf(
                "name" to JsonPrimitive(name),
                "logits" to JsonArray(found.logits.map(::number)),
                "input_ids" to JsonArray(found.ids.map { JsonPrimitive(it) }),
                "labels" to strings(found.labels),
            ),
        )

    private fun machine(machine: Machine): JsonObject =
        JsonObject(
            mapOf(
                "architecture" to JsonPrimitive(machine.architecture),
                "processor" to JsonPrimitive(machine.processor),
                "features" to strings(machine.features),
                "emulator" to JsonPrimitive(machine.emulator),
            ),
        )

    private fun strings(values: List<String>): JsonArray = JsonArray(values.map { JsonPrimitive(it) })

    /** JSON has no NaN and no infinity. A float's own digits would be rounded twice on their way back. */
    private fun number(value: Float): JsonElement =
        when {
            value.isNaN() -> JsonPrimitive("nan")
            value.isInfinite() -> JsonPrimitive(if (value > 0) "inf" else "-inf")
            else -> JsonPrimitive(value.toDouble())
        }
}
