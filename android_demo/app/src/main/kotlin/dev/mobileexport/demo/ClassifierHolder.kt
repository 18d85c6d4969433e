package dev.mobileexport.demo

import android.content.res.AssetManager
import android.content.res.Resources
import android.os.Build
import android.os.Handler
import android.os.Looper
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.LiteRtException
import dev.mobileexport.core.Artifact
import dev.mobileexport.core.BundleException
import java.io.IOException
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/**
 * Keeps the loaded model while the activity is made anew (rotation, dark mode, font size), and all
 * work off the main thread.
 *
 * Its methods are called on the main thread only. The activity hands it over with
 * `onRetainNonConfigurationInstance` and closes it when it finishes.
 */
internal class ClassifierHolder(
    private val assets: AssetManager,
    private val resources: Resources,
) : AutoCloseable {
    private val main = Handler(Looper.getMainLooper())
    private val worker: ExecutorService = Executors.newSingleThreadExecutor()

    /** Of the worker's thread; made by the first request. */
    private var engine: Engine? = null

    /** Of the worker's thread; why there is no engine. Assets do not change while the app runs. */
    private var refused: UiState? = null

    private var state = UiState()

    @Volatile private var newest: Request? = null
    private var waiting: Runnable? = null

    /** Told of every state, on the main thread, and of the present one at once. */
    var listener: ((UiState) -> Unit)? = null
        set(value) {
            field = value
            value?.invoke(state)
        }

    /**
     * Ask for the answer to a text. A later request replaces this one: what it has not shown by
     * then is never shown.
     *
     * @param delayMillis how long to wait for a later request, while the user types.
     */
    fun ask(request: Request, delayMillis: Long) {
        if (request == newest) return
        newest = request
        // A screen that is made anew before the answer comes shows what was picked last.
        state = state.copy(chosen = choice(request, state.artifacts, state.accelerators))
        waiting?.let(main::removeCallbacks)
        val next = Runnable { worker.execute { work(request) } }
        waiting = next
        main.postDelayed(next, delayMillis)
    }

    override fun close() {
        listener = null
        newest = null
        waiting?.let(main::removeCallbacks)
        worker.execute {
            engine?.close()
            engine = null
        }
        worker.shutdown()
    }

    /** On the worker's thread. */
    private fun work(request: Request) {
        if (request != newest) return
        val next = refused ?: stateFor(request)
        main.post {
            if (request == newest) {
                state = next
                listener?.invoke(next)
            }
        }
    }

    private fun stateFor(request: Request): UiState =
        try {
            val source = AssetBundleSource(assets)
            if (engine == null && !source.isPresent) {
                refusal(resources.getString(R.string.no_bundle))
            } else {
                answered(engine ?: Engine(assets, source).also { engine = it }, request)
            }
        } catch (error: BundleException) {
            refusal(error.message)
        } catch (error: IOException) {
            refusal(error.message)
        } catch (error: LiteRtException) {
            refusal(error.message)
        } catch (error: LinkageError) {
            // No library of LiteRT for this processor.
            refusal(resources.getString(R.string.no_runtime, Build.SUPPORTED_ABIS.joinToString()))
        }

    private fun answered(engine: Engine, request: Request): UiState {
        val choice = checkNotNull(choice(request, engine.artifacts, engine.accelerators))
        val ready = UiState(engine.artifacts, engine.accelerators, choice, loading = false)
        return try {
            if (request.text.isEmpty()) ready else ready.copy(answer = engine.answer(request.text, choice))
        } catch (error: BundleException) {
            // One model that fails leaves the others to choose from.
            ready.copy(problem = error.message)
        }
    }

    /** What a request asks for, as far as it is there; null as long as nothing is. */
    private fun choice(request: Request, artifacts: List<Artifact>, accelerators: List<Accelerator>): Choice? =
        artifacts.firstOrNull()?.let { first ->
            Choice(
                artifacts.find { it.path == request.artifact } ?: first,
                accelerators.find { it.name == request.accelerator } ?: Accelerator.CPU,
            )
        }

    private fun refusal(sentence: String?): UiState =
        UiState(problem = sentence.orEmpty(), loading = false).also { refused = it }
}
