package dev.mobileexport.demo

import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.ProgressBar
import android.widget.TextView
import dev.mobileexport.core.Classification
import java.text.NumberFormat
import kotlin.math.roundToInt

/**
 * Labels and their probabilities as bars, the likeliest first.
 *
 * @param rows where the bars go; its children are used again, so that typing does not flicker.
 */
internal class ResultView(private val rows: ViewGroup) {
    private val resources = rows.resources
    private val percent = NumberFormat.getPercentInstance().apply { maximumFractionDigits = 1 }

    /** Show the likeliest labels; null clears them. */
    fun show(classification: Classification?) {
        val shown = classification?.top(MOST).orEmpty()
        while (rows.childCount < shown.size) {
            LayoutInflater.from(rows.context).inflate(R.layout.row_label, rows, true)
        }
        for (i in 0 until rows.childCount) {
            val row = rows.getChildAt(i)
            val entry = shown.getOrNull(i)
            row.visibility = if (entry == null) View.GONE else View.VISIBLE
            if (entry != null) {
                bind(row, entry.label, entry.probability.toDouble(), entry.label in classification?.labels.orEmpty())
            }
        }
    }

    private fun bind(row: View, label: String, probability: Double, chosen: Boolean) {
        val share = percent.format(probability)
        (row.findViewById(R.id.label) as TextView).text =
            if (chosen) resources.getString(R.string.row_chosen, label) else label
        (row.findViewById(R.id.percent) as TextView).text = share
        (row.findViewById(R.id.bar) as ProgressBar).progress = (probability * BAR_MAX).roundToInt()
        val spoken = if (chosen) R.string.row_spoken_chosen else R.string.row_spoken
        row.contentDescription = resources.getString(spoken, label, share)
    }

    private companion object {
        /** A screen of bars; a task may have hundreds of labels. */
        const val MOST = 10

        /** As in row_label.xml. */
        const val BAR_MAX = 1000
    }
}
