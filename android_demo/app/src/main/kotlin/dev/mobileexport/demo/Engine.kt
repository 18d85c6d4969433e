package dev.mobileexport.demo

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.Environment
import dev.mobileexport.core.Artifact
import dev.mobileexport.core.Bundle
import dev.mobileexport.core.BundleException
import dev.mobileexport.core.Classification
import dev.mobileexport.core.TextClassifier
import dev.mobileexport.core.Tokenizer
import dev.mobileexport.core.Tokenizers

/** Which model answers, and on what. */
internal data class Choice(val artifact: Artifact, val accelerator: Accelerator)

/**
 * An answer and how it came about.
 *
 * @property classification of the text.
 * @property ran what really ran; its accelerator is the CPU where the wanted one refused the model.
 * @property wanted what was asked for.
 * @property nanoseconds from text to labels.
 */
internal class Answer(
    val classification: Classification,
    val ran: Choice,
    val wanted: Choice,
    val nanoseconds: Long,
)

/**
 * The bundle in the app's assets, and one of its models at a time.
 *
 * Everything here takes long; none of it belongs on the main thread, and all of it on one thread.
 *
 * @throws BundleException the bundle is damaged, or made by a version that this app does not know.
 */
internal class Engine(private val assets: AssetManager, private val source: AssetBundleSource) : AutoCloseable {
    /** Verified: every hash of its manifest was compared. */
    val bundle: Bundle = Bundle.open(source)

    /** The bundle's TFLite models, at least one, smallest first. */
    val artifacts: List<Artifact> = bundle.artifacts()

    private val tokenizer: Tokenizer = Tokenizers.of(bundle)
    private val environment: Environment = Environment.create()

    /** What LiteRT can use on this device, the CPU first. */
    val accelerators: List<Accelerator> =
        listOf(Accelerator.CPU) + (environment.getAvailableAccelerators() - NOT_OFFERED)

    private var open: Opened? = null

    /**
     * Answer one text; loads the model first if it is another than before.
     *
     * @throws BundleException the model cannot be loaded or run, on the CPU either.
     */
    fun answer(text: String, choice: Choice): Answer {
        val opened = opened(choice)
        val start = System.nanoTime()
        val classification = opened.classifier.classify(text)
        return Answer(classification, opened.ran, choice, System.nanoTime() - start)
    }

    /** The classifier of an artifact on the CPU, for tests that replay many texts. */
    fun classifier(artifact: Artifact): TextClassifier = opened(Choice(artifact, Accelerator.CPU)).classifier

    override fun close() {
        open?.classifier?.close()
        open = null
        environment.close()
    }

    private fun opened(choice: Choice): Opened {
        open?.let { if (it.wanted == choice) return it }
        // Before the next is loaded: two models need twice the memory.
        open?.classifier?.close()
        open = null
        return load(choice).also { open = it }
    }

    private fun load(choice: Choice): Opened =
        try {
            start(choice, choice.accelerator)
        } catch (error: BundleException) {
            if (choice.accelerator == Accelerator.CPU) throw error
            start(choice, Accelerator.CPU)
        }

    private fun start(wanted: Choice, accelerator: Accelerator): Opened {
        val artifact = wanted.artifact
        val model =
            LiteRtTextModel.open(assets, source.assetPath(artifact.path), artifact, accelerator, environment)
        val classifier = TextClassifier(tokenizer, model, bundle.manifest, artifact)
        try {
            // The first run of a model packs its weights; it would be shown as the text's latency.
            classifier.classify("")
        } catch (error: BundleException) {
            classifier.close()
            throw error
        }
        return Opened(wanted, Choice(artifact, accelerator), classifier)
    }

    private class Opened(val wanted: Choice, val ran: Choice, val classifier: TextClassifier)

    private companion object {
        val NOT_OFFERED = setOf(Accelerator.NONE, Accelerator.CPU)
    }
}
