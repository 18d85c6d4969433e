package dev.mobileexport.core

import java.io.File
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream

/** Where the files of a bundle are: a folder, an app's assets, anything. */
public interface BundleSource {
    /**
     * Open a file for reading.
     *
     * @param path relative to the bundle, with `/` between its parts, as the manifest writes it.
     * @throws FileNotFoundException there is no such file.
     */
    @Throws(IOException::class)
    public fun open(path: String): InputStream
}

/** A bundle in a folder of the file system. */
public class FolderSource(folder: File) : BundleSource {
    // Links above the folder are the system's affair, those inside it are not allowed.
    private val folder: File = folder.canonicalFile

    /**
     * The file behind a path.
     *
     * @throws BundleException the path leaves the folder, or there is a link on its way.
     */
    public fun file(path: String): File {
        checkPath(path)
        val file = File(folder, path)
        if (file.canonicalFile != file) {
            throw BundleException("$path is a link or has an unusual spelling: a bundle has only files; $EXPORT_AGAIN")
        }
        return file
    }

    override fun open(path: String): InputStream {
        val file = file(path)
        if (!file.isFile) throw FileNotFoundException(path)
        return FileInputStream(file)
    }
}

/** Refuse a path that could lead out of the bundle, whatever the source would make of it. */
internal fun checkPath(path: String) {
    val parts = path.split('/')
    val leaves = path.isEmpty() || path.startsWith("/") || ".." in parts || '\\' in path || path.any { it < ' ' }
    if (leaves) {
        throw BundleException(
            "the bundle names the path ${quoted(path)}, which may leave its folder; $EXPORT_AGAIN",
        )
    }
}
