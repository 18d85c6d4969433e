/*
 * Declarations for the compiler only: what the app's instrumented tests call of androidx.test
 * (core 1.7.0, ext:junit 1.3.0, runner 1.7.0, monitor 1.8.0), so that they can be type-checked where
 * the real libraries cannot be downloaded. Nothing here runs and nothing of it is packaged.
 *
 * Signatures follow the reference at developer.android.com/reference/androidx/test.
 */
@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.test.core.app

import android.app.Activity
import android.content.Intent
import java.io.Closeable

public class ActivityScenario<A : Activity> private constructor() : Closeable {
    public fun onActivity(action: ActivityAction<A>): ActivityScenario<A> = throw UnsupportedOperationException()

    public fun recreate(): ActivityScenario<A> = throw UnsupportedOperationException()

    override fun close(): Unit = throw UnsupportedOperationException()

    public fun interface ActivityAction<A : Activity> {
        public fun perform(activity: A)
    }

    public companion object {
        @JvmStatic
        public fun <A : Activity> launch(activityClass: Class<A>): ActivityScenario<A> =
            throw UnsupportedOperationException()

        @JvmStatic
        public fun <A : Activity> launch(startActivityIntent: Intent): ActivityScenario<A> =
            throw UnsupportedOperationException()
    }
}
