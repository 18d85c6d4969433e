package dev.mobileexport.demo

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import dev.mobileexport.core.Golden
import dev.mobileexport.core.Replay
import dev.mobileexport.core.Tokenizers
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import java.io.File

/**
 * Runs every golden case of the bundle in the app's assets through every TFLite artifact.
 *
 * Ids are compared here. Logits and labels go into `results.json`, which the parity gate judges
 * outside the device: `make replay BUNDLE=… RESULTS=results.json`.
 */
@RunWith(AndroidJUnit4::class)
class GoldenReplayTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val assets = instrumentation.targetContext.assets
    private val source = AssetBundleSource(assets)
    private val engine by lazy { Engine(assets, source) }

    @After
    fun close() {
        engine.close()
    }

    @Test
    fun theTokenizerGivesTheGoldenIds() {
        val tokenizer = Tokenizers.of(engine.bundle)
        for (case in golden().cases) {
            assertArrayEquals(case.name, case.inputIds, tokenizer.encode(case.text).ids)
        }
    }

    @Test
    fun everyArtifactGivesFiniteLogitsAndKnownLabels() {
        for (artifact in engine.artifacts) {
            val classifier = engine.classifier(artifact)
            for (case in golden().cases.take(FEW)) {
                val answer = classifier.classify(case.text)
                assertEquals(case.name, engine.bundle.manifest.task.labels.size, answer.logits.size)
                assertTrue(case.name, answer.logits.all(Float::isFinite))
                assertTrue(case.name, engine.bundle.manifest.task.labels.containsAll(answer.labels))
            }
        }
    }

    @Test
    fun resultsAreWrittenForTheGate() {
        val arguments = InstrumentationRegistry.getArguments()
        val version = checkNotNull(arguments.getString("litertVersion")) { "run this with Gradle" }
        val results =
            engine.artifacts
                .map { artifact ->
                    Replay.run(
                        bundle = engine.bundle,
                        artifact = artifact,
                        classifier = engine.classifier(artifact),
                        machine = Device.machine(),
                        environment = Device.environment(version),
                    )
                }.reduce { all, one -> all + one }
        // Gradle names a folder from which it copies to app/build/outputs after the test.
        val folder = arguments.getString("additionalTestOutputDir")
            ?: checkNotNull(instrumentation.targetContext.getExternalFilesDir(null)).path
        val file = File(folder, "results.json")
        Replay.write(results, file)
        assertTrue(file.length() > 0)
    }

    private fun golden(): Golden = source.open(Golden.FILE).use { Golden.read(it) }

    private companion object {
        const val FEW = 50
    }
}
