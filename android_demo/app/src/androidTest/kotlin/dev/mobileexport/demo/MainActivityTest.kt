package dev.mobileexport.demo

import android.content.Intent
import android.os.SystemClock
import android.view.View
import android.widget.EditText
import android.widget.TextView
import androidx.test.core.app.ActivityScenario
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.Assert.assertEquals
import org.junit.Assert.fail
import org.junit.Test
import org.junit.runner.RunWith

/** The screen: typing, rotation, sharing. */
@RunWith(AndroidJUnit4::class)
class MainActivityTest {
    private val context = InstrumentationRegistry.getInstrumentation().targetContext

    @Test
    fun typedTextAndItsAnswerSurviveRotation() {
        ActivityScenario.launch(MainActivity::class.java).use { scenario ->
            scenario.onActivity { (it.findViewById(R.id.text) as EditText).setText(TEXT) }
            assertEquals(expectedHeadline(), scenario.awaitHeadline())
            scenario.recreate()
            scenario.onActivity { assertEquals(TEXT, (it.findViewById(R.id.text) as EditText).text.toString()) }
            assertEquals(expectedHeadline(), scenario.awaitHeadline())
        }
    }

    @Test
    fun aSharedTextIsClassified() {
        val intent =
            Intent(context, MainActivity::class.java)
                .setAction(Intent.ACTION_SEND)
                .setType("text/plain")
                .putExtra(Intent.EXTRA_TEXT, TEXT)
        ActivityScenario.launch<MainActivity>(intent).use { scenario ->
            scenario.onActivity { assertEquals(TEXT, (it.findViewById(R.id.text) as EditText).text.toString()) }
            assertEquals(expectedHeadline(), scenario.awaitHeadline())
        }
    }

    /** What the same code without a screen answers. */
    private fun expectedHeadline(): String =
        Engine(context.assets, AssetBundleSource(context.assets)).use { engine ->
            val labels = engine.classifier(engine.artifacts.first()).classify(TEXT).labels
            if (labels.isEmpty()) context.getString(R.string.no_label) else labels.joinToString()
        }

    /** Wait for an answer: the line with file and latency is shown with it and not without. */
    private fun ActivityScenario<MainActivity>.awaitHeadline(): String {
        val end = SystemClock.elapsedRealtime() + PATIENCE_MILLIS
        var headline = ""
        while (SystemClock.elapsedRealtime() < end) {
            var answered = false
            onActivity {
                answered = (it.findViewById(R.id.details) as View).visibility == View.VISIBLE
                headline = (it.findViewById(R.id.headline) as TextView).text.toString()
            }
            if (answered) return headline
            SystemClock.sleep(PAUSE_MILLIS)
        }
        fail("no answer after $PATIENCE_MILLIS ms; the screen says: $headline")
        return headline
    }

    private companion object {
        const val TEXT = "The train was late again, but the staff were friendly."
        const val PATIENCE_MILLIS = 60_000L
        const val PAUSE_MILLIS = 100L
    }
}
