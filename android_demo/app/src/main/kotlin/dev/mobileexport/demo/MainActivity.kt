package dev.mobileexport.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher

/** The app's one screen: a text in, labels and their probabilities out. */
class MainActivity : Activity() {
    private lateinit var holder: ClassifierHolder
    private lateinit var screen: Screen

    /** What was picked before the process died, until the bundle is open again. */
    private var restoredArtifact: String? = null
    private var restoredAccelerator: String? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        restoredArtifact = savedInstanceState?.getString(ARTIFACT)
        restoredAccelerator = savedInstanceState?.getString(ACCELERATOR)
        @Suppress("DEPRECATION") // In old API levels only.
        holder = lastNonConfigurationInstance as? ClassifierHolder
            ?: ClassifierHolder(applicationContext.assets, applicationContext.resources)
        screen = Screen(this) { ask(delayMillis = 0) }
        if (savedInstanceState == null) takeShared(intent)
    }

    override fun onPostCreate(savedInstanceState: Bundle?) {
        super.onPostCreate(savedInstanceState)
        // Only now has the text field got back what it held before.
        screen.text.addTextChangedListener(Typing())
        holder.listener = screen::show
        ask(delayMillis = 0)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        setIntent(intent)
        takeShared(intent)
    }

    override fun onSaveInstanceState(outState: Bundle) {
        // The text field saves its text itself.
        super.onSaveInstanceState(outState)
        outState.putString(ARTIFACT, screen.pickedArtifact ?: restoredArtifact)
        outState.putString(ACCELERATOR, screen.pickedAccelerator ?: restoredAccelerator)
    }

    // The platform's way to keep an object over a rotation; AndroidX's ViewModel uses it too.
    @Suppress("OVERRIDE_DEPRECATION") // In old API levels only.
    override fun onRetainNonConfigurationInstance(): Any = holder

    override fun onDestroy() {
        holder.listener = null
        if (!isChangingConfigurations) holder.close()
        super.onDestroy()
    }

    private fun takeShared(intent: Intent) {
        if (intent.action != Intent.ACTION_SEND) return
        val shared = intent.getCharSequenceExtra(Intent.EXTRA_TEXT) ?: return
        screen.text.setText(shared.toString())
        screen.text.setSelection(screen.text.length())
    }

    private fun ask(delayMillis: Long) {
        holder.ask(
            Request(
                screen.text.text.toString(),
                screen.pickedArtifact ?: restoredArtifact,
                screen.pickedAccelerator ?: restoredAccelerator,
            ),
            delayMillis,
        )
    }

    private inner class Typing : TextWatcher {
        override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit

        override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit

        override fun afterTextChanged(text: Editable?) = ask(TYPING_MILLIS)
    }

    private companion object {
        const val ARTIFACT = "artifact"
        const val ACCELERATOR = "accelerator"

        /** Shorter than a pause between words, longer than one between letters. */
        const val TYPING_MILLIS = 150L
    }
}
