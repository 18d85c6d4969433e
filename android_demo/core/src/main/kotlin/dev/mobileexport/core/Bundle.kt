package dev.mobileexport.core

import java.io.ByteArrayOutputStream
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream
import java.nio.charset.CharacterCodingException
import java.security.MessageDigest

/**
 * A bundle whose manifest was read and whose files are, byte for byte, those that were exported.
 *
 * @property manifest of the bundle.
 * @property source its files.
 */
public class Bundle private constructor(
    public val manifest: Manifest,
    public val source: BundleSource,
    private val formats: Set<String>,
) {
    /** The artifacts of the formats that were asked for, smallest first. */
    public fun artifacts(): List<Artifact> = manifest.artifacts.filter { it.format in formats }.sortedBy { it.bytes }

    /**
     * A text file of the bundle.
     *
     * @throws BundleException it is missing or not UTF-8.
     */
    public fun readText(path: String): String {
        val bytes = readBytes(path)
        return try {
            bytes.decodeToString(throwOnInvalidSequence = true)
        } catch (error: CharacterCodingException) {
            throw BundleException("$path is not UTF-8; $EXPORT_AGAIN", error)
        }
    }

    internal fun readBytes(path: String): ByteArray = read(source, path) { it.readBytes() }

    public companion object {
        private const val MANIFEST = "manifest.json"

        // A manifest is some kilobytes; a larger one is an attack or a mistake.
        private const val MAX_MANIFEST_BYTES = 16 shl 20
        private const val CHUNK = 1 shl 16
        private const val HEX_DIGITS = "0123456789abcdef"

        /**
         * Open a bundle and compare every file with the manifest.
         *
         * @param source its files.
         * @param formats of the artifacts that will be used. Artifacts of other formats may be absent.
         * @throws BundleException whatever is missing, changed, unknown or not allowed.
         */
        public fun open(source: BundleSource, formats: Set<String> = setOf("tflite")): Bundle {
            val manifest = ManifestReader.read(manifestBytes(source))
            val bundle = Bundle(manifest, source, formats)
            val artifacts = bundle.artifacts()
            if (artifacts.isEmpty()) {
                val there = manifest.artifacts.map { it.format }.toSortedSet().joinToString(", ")
                throw BundleException(
                    "the bundle has no model in the format ${formats.joinToString(" or ")}, only $there; " +
                        "export it for this platform",
                )
            }
            manifest.files.forEach { verify(source, it) }
            artifacts.forEach { verify(source, it) }
            return bundle
        }

        private fun manifestBytes(source: BundleSource): ByteArray =
            try {
                source.open(MANIFEST).use(::limited)
            } catch (error: FileNotFoundException) {
                throw BundleException("there is no bundle: $MANIFEST is missing; export one and copy all of it", error)
            } catch (error: IOException) {
                throw unreadable(MANIFEST, error)
            }

        private fun limited(stream: InputStream): ByteArray {
            val bytes = ByteArrayOutputStream()
            val chunk = ByteArray(CHUNK)
            while (true) {
                val count = stream.read(chunk)
                if (count < 0) return bytes.toByteArray()
                bytes.write(chunk, 0, count)
                if (bytes.size() > MAX_MANIFEST_BYTES) {
                    throw BundleException("$MANIFEST is larger than $MAX_MANIFEST_BYTES bytes; $EXPORT_AGAIN")
                }
            }
        }

        private fun verify(source: BundleSource, artifact: Artifact) {
            if (artifact.files.isEmpty()) {
                verify(source, FileEntry(artifact.path, artifact.bytes, artifact.sha256))
                return
            }
            val prefix = "${artifact.path}/"
            val listing =
                artifact.files
                    .map { it.copy(path = it.path.removePrefix(prefix)) }
                    .sortedBy { it.path }
                    .joinToString("") { "${it.sha256} ${it.bytes} ${it.path}\n" }
            val digest = MessageDigest.getInstance("SHA-256").digest(listing.encodeToByteArray())
            if (hex(digest) != artifact.sha256) {
                throw BundleException("${artifact.path}: its SHA-256 is not that of its files; $EXPORT_AGAIN")
            }
            artifact.files.forEach { verify(source, it) }
        }

        private fun verify(source: BundleSource, entry: FileEntry) {
            val digest = MessageDigest.getInstance("SHA-256")
            val size =
                read(source, entry.path) { stream ->
                    val chunk = ByteArray(CHUNK)
                    var total = 0L
                    while (true) {
                        val count = stream.read(chunk)
                        if (count < 0) break
                        digest.update(chunk, 0, count)
                        total += count
                    }
                    total
                }
            if (size != entry.bytes) {
                throw BundleException(
                    "${entry.path} has $size bytes and the manifest says ${entry.bytes}; $EXPORT_AGAIN",
                )
            }
            if (hex(digest.digest()) != entry.sha256) {
                throw BundleException("${entry.path} was changed: its SHA-256 is not the manifest's; $EXPORT_AGAIN")
            }
        }

        private fun <T> read(source: BundleSource, path: String, use: (InputStream) -> T): T {
            checkPath(path)
            return try {
                source.open(path).use(use)
            } catch (error: FileNotFoundException) {
                throw BundleException("$path is missing; $EXPORT_AGAIN", error)
            } catch (error: IOException) {
                throw unreadable(path, error)
            }
        }

        private fun unreadable(path: String, error: IOException) =
            BundleException("$path cannot be read (${error.message}); $EXPORT_AGAIN", error)

        private fun hex(bytes: ByteArray): String = bytes.joinToString("") { byte ->
            "${HEX_DIGITS[byte.toInt() shr 4 and 15]}${HEX_DIGITS[byte.toInt() and 15]}"
        }
    }
}
