package dev.mobileexport.demo

import android.app.Activity
import android.view.View
import android.view.ViewGroup
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.EditText
import android.widget.Spinner
import android.widget.TextView
import java.text.NumberFormat

/**
 * The views of the one screen.
 *
 * @param activity whose content is `activity_main`.
 * @param onChoice called when the user picks another model or accelerator.
 */
internal class Screen(private val activity: Activity, private val onChoice: () -> Unit) {
    // Casts, because findViewById has no type parameter in the API level of the smoke build.
    val text = activity.findViewById(R.id.text) as EditText
    private val headline = activity.findViewById(R.id.headline) as TextView
    private val notes = activity.findViewById(R.id.notes) as TextView
    private val details = activity.findViewById(R.id.details) as TextView
    private val artifact = activity.findViewById(R.id.artifact) as Spinner
    private val acceleratorGroup: View = activity.findViewById(R.id.accelerator_group)
    private val accelerator = activity.findViewById(R.id.accelerator) as Spinner
    private val result = ResultView(activity.findViewById(R.id.rows) as ViewGroup)
    private val milliseconds = NumberFormat.getNumberInstance().apply { maximumFractionDigits = 1 }
    private var shown = UiState()

    /** Path of the picked artifact; null until there is one to pick. */
    val pickedArtifact: String?
        get() = shown.artifacts.getOrNull(artifact.selectedItemPosition)?.path

    /** Name of the picked accelerator; null until there is one to pick. */
    val pickedAccelerator: String?
        get() = shown.accelerators.getOrNull(accelerator.selectedItemPosition)?.name

    /** Bring the views up to date. */
    fun show(state: UiState) {
        showChoices(state)
        shown = state
        val classification = state.answer?.classification
        result.show(classification)
        headline.show(
            when {
                state.loading -> activity.getString(R.string.loading)
                state.problem != null -> state.problem
                classification == null -> ""
                classification.labels.isEmpty() -> activity.getString(R.string.no_label)
                else -> classification.labels.joinToString()
            },
        )
        details.show(state.answer?.let(::detailsOf).orEmpty())
        notes.show(state.answer?.let(::notesOf).orEmpty())
    }

    private fun showChoices(state: UiState) {
        val names = state.artifacts.map { activity.getString(R.string.artifact_item, it.path, it.recipe) }
        artifact.fill(names, state.artifacts.indexOf(state.chosen?.artifact))
        accelerator.fill(state.accelerators.map { it.name }, state.accelerators.indexOf(state.chosen?.accelerator))
        artifact.isEnabled = state.artifacts.isNotEmpty()
        acceleratorGroup.visibility = if (state.accelerators.size > 1) View.VISIBLE else View.GONE
    }

    private fun detailsOf(answer: Answer): String =
        activity.getString(
            R.string.details,
            answer.ran.artifact.path,
            answer.ran.artifact.recipe,
            answer.ran.accelerator.name,
            milliseconds.format(answer.nanoseconds / NANOSECONDS_PER_MILLISECOND),
        )

    private fun notesOf(answer: Answer): String =
        listOfNotNull(
            activity.getString(R.string.truncated).takeIf { answer.classification.truncated },
            activity.getString(R.string.fell_back, answer.wanted.accelerator.name)
                .takeIf { answer.ran != answer.wanted },
        ).joinToString("\n")

    private fun TextView.show(words: String) {
        // Setting the same words again would make a screen reader say them again.
        if (text.toString() != words) text = words
        visibility = if (words.isEmpty()) View.GONE else View.VISIBLE
    }

    private fun Spinner.fill(names: List<String>, selected: Int) {
        val present = adapter?.let { adapter -> (0 until adapter.count).map { adapter.getItem(it) } }
        // Once it is filled, the user alone decides: a state may arrive just after a choice.
        if (present == names) return
        // Filling a spinner selects its first entry, which the user did not.
        onItemSelectedListener = null
        adapter =
            ArrayAdapter(activity, android.R.layout.simple_spinner_item, names).apply {
                setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
            }
        if (selected >= 0) setSelection(selected)
        onItemSelectedListener = Picked()
    }

    private inner class Picked : AdapterView.OnItemSelectedListener {
        override fun onItemSelected(parent: AdapterView<*>?, view: View?, position: Int, id: Long) = onChoice()

        override fun onNothingSelected(parent: AdapterView<*>?) = Unit
    }

    private companion object {
        const val NANOSECONDS_PER_MILLISECOND = 1e6
    }
}
