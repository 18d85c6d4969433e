package dev.mobileexport.demo

import android.content.res.AssetManager
import dev.mobileexport.core.BundleSource
import java.io.InputStream

/**
 * Files of the bundle that `make android` put into the app's assets.
 *
 * @param assets of the app.
 * @param folder inside the assets, without a slash at its end.
 */
internal class AssetBundleSource(
    private val assets: AssetManager,
    private val folder: String = FOLDER,
) : BundleSource {
    /** Whether there is a bundle at all; an app without one is a mistake of the build, not of the user. */
    val isPresent: Boolean
        get() = MANIFEST in assets.list(folder).orEmpty()

    /** Where an asset of the bundle lies, for runtimes that open assets by themselves. */
    fun assetPath(path: String): String = "$folder/$path"

    override fun open(path: String): InputStream = assets.open(assetPath(path))

    private companion object {
        const val FOLDER = "bundle"
        const val MANIFEST = "manifest.json"
    }
}
