/* Declarations for the compiler only; see ActivityScenario.kt. */
@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.test.ext.junit.runners

import org.junit.runner.Description
import org.junit.runner.Runner
import org.junit.runner.notification.RunNotifier

public class AndroidJUnit4(klass: Class<*>) : Runner() {
    override fun getDescription(): Description = throw UnsupportedOperationException()

    override fun run(notifier: RunNotifier): Unit = throw UnsupportedOperationException()
}
