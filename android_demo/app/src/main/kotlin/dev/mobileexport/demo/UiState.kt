package dev.mobileexport.demo

import com.google.ai.edge.litert.Accelerator
import dev.mobileexport.core.Artifact

/**
 * Everything the screen shows; a new one for every change.
 *
 * @property artifacts of the bundle; empty until it is open.
 * @property accelerators of the device; empty until the bundle is open.
 * @property chosen which artifact and accelerator are selected; null until the bundle is open.
 * @property answer to the text on the screen; null without a text, and where there is a [problem].
 * @property problem one sentence; null where all is well.
 * @property loading nothing can be shown yet.
 */
internal data class UiState(
    val artifacts: List<Artifact> = emptyList(),
    val accelerators: List<Accelerator> = emptyList(),
    val chosen: Choice? = null,
    val answer: Answer? = null,
    val problem: String? = null,
    val loading: Boolean = true,
)

/**
 * What the user asks for, in a form that survives the death of the process.
 *
 * @property text to classify.
 * @property artifact its path in the bundle; null for the first.
 * @property accelerator its name; null for the CPU.
 */
internal data class Request(val text: String, val artifact: String?, val accelerator: String?)
