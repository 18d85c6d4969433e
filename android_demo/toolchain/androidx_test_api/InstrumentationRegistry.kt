/* Declarations for the compiler only; see ActivityScenario.kt. */
@file:Suppress("unused")

package androidx.test.platform.app

import android.app.Instrumentation
import android.os.Bundle

public object InstrumentationRegistry {
    @JvmStatic
    public fun getInstrumentation(): Instrumentation = throw UnsupportedOperationException()

    @JvmStatic
    public fun getArguments(): Bundle = throw UnsupportedOperationException()
}
