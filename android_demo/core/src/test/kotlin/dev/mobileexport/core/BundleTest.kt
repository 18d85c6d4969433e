package dev.mobileexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.ByteArrayInputStream
import java.io.File
import java.io.InputStream
import java.nio.file.Files

class BundleTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private lateinit var tiny: TinyBundle

    @Before
    fun makeBundle() {
        tiny = TinyBundle(temporary.newFolder("bundle"))
    }

    private fun file(name: String) = File(tiny.folder, name)

    @Test
    fun opensWhatIsAsPromised() {
        val bundle = tiny.write().open()
        assertEquals(listOf("model.tflite"), bundle.artifacts().map { it.path })
        assertEquals(listOf(8, 16), bundle.artifacts().single().lengths)
        assertEquals(listOf("no", "yes"), bundle.manifest.task.labels)
        assertEquals(listOf(1, null), bundle.artifacts().single().inputs.single().shape)
        assertEquals("the", bundle.readText("vocab.txt").lines()[5])
    }

    @Test
    fun readsSchemaVersion1AsWhatItMeant() {
        for (field in listOf("task.pooling", "source.family", "tokenizer.pad_token", "tokenizer.mask_token")) {
            tiny.manifest(field, null)
        }
        tiny.manifest("tokenizer.cls_position", null).manifest("tokenizer.token_types", null)
        tiny.manifest("schema_version", "1")
        val spec = tiny.write().open().manifest.tokenizer
        assertEquals(TinyTokenizer.SPEC, spec)
    }

    @Test
    fun refusesAFieldOfVersion2InVersion1() {
        tiny.manifest("schema_version", "1").write()
        assertRefused("has the unknown field") { tiny.open() }
    }

    @Test
    fun refusesOneFlippedByteInAnyFile() {
        for (name in tiny.files.keys) {
            tiny.write()
            val bytes = file(name).readBytes()
            bytes[bytes.size / 2] = (bytes[bytes.size / 2].toInt() xor 1).toByte()
            file(name).writeBytes(bytes)
            assertRefused("$name was changed") { tiny.open() }
        }
    }

    @Test
    fun refusesAFileThatIsCutShort() {
        tiny.write()
        file("model.tflite").writeBytes(ByteArray(299))
        assertRefused("model.tflite has 299 bytes and the manifest says 300") { tiny.open() }
    }

    @Test
    fun refusesAMissingFile() {
        for (name in tiny.files.keys) {
            tiny.write()
            file(name).delete()
            assertRefused("$name is missing") { tiny.open() }
        }
    }

    @Test
    fun refusesAFolderWithoutManifest() {
        assertRefused("there is no bundle") { tiny.open() }
    }

    @Test
    fun refusesUnknownSchemaVersions() {
        for (version in listOf("0", "3", "\"2\"", "2.0", "true", "null", "[2]")) {
            tiny.manifest("schema_version", version).write()
            assertRefused("manifest.json has schema version") { tiny.open() }
        }
        tiny.manifest("schema_version", null).write()
        assertRefused("manifest.json has schema version null") { tiny.open() }
    }

    @Test
    fun refusesAHugeManifestBeforeItFillsTheMemory() {
        val endless =
            object : InputStream() {
                var given = 0L

                override fun read(): Int = ' '.code

                override fun read(buffer: ByteArray, offset: Int, length: Int): Int {
                    given += length
                    check(given < 32 shl 20) { "the reader did not stop" }
                    buffer.fill(' '.code.toByte(), offset, offset + length)
                    return length
                }
            }
        val source =
            object : BundleSource {
                override fun open(path: String): InputStream = endless
            }
        assertRefused("larger than") { Bundle.open(source) }
    }

    @Test
    fun refusesWhatIsNoManifest() {
        val cases =
            mapOf(
                "" to "not JSON",
                "{" to "not JSON",
                "[]" to "not a JSON object",
                "{} x" to "not JSON",
                "\u0000" to "",
                "[".repeat(100_000) to "",
            )
        for ((content, what) in cases) {
            assertRefused(what) { openManifest(content.encodeToByteArray()) }
        }
        assertRefused("not UTF-8") { openManifest(byteArrayOf(0x7B, 0xFF.toByte(), 0x7D)) }
    }

    private fun openManifest(bytes: ByteArray) {
        val source =
            object : BundleSource {
                override fun open(path: String): InputStream = ByteArrayInputStream(bytes)
            }
        Bundle.open(source)
    }

    @Test
    fun refusesUnknownFieldsAtEveryDepth() {
        val places =
            listOf("", "task.", "tokenizer.", "artifacts.0.", "artifacts.1.inputs.0.", "artifacts.1.weights.") +
                listOf("files.0.", "source.", "data.")
        for (place in places) {
            val tiny = TinyBundle(temporary.newFolder())
            tiny.manifest("${place}surprise", "1").write()
            assertRefused("has the unknown field \"surprise\"") { tiny.open() }
        }
    }

    @Test
    fun staysOneShortSentenceWhateverTheBundleSays() {
        val noise = "line\\nline" + "x".repeat(10_000)
        for (place in listOf("schema_version", "task.kind", "task.activation", "artifacts.1.gate", "files.0.path")) {
            assertTrue(place, refusal { changed(place, "\"$noise\"") }.length < 400)
        }
        assertTrue(refusal { changed("tools", "{\"$noise\":1}") }.length < 400)
        assertTrue(refusal { changed(noise, "1") }.length < 400)
    }

    @Test
    fun refusesMissingAndWronglyTypedFields() {
        val places =
            listOf("name", "task.labels", "tokenizer.max_length", "artifacts.1.sha256", "files.1.bytes", "tools")
        for (place in places) {
            assertRefused("lacks the field") { changed(place, null) }
            assertRefused(" is not ") { changed(place, "{\"a\":{}}") }
        }
        assertRefused("lacks the field \"name\"") { changed("data", "{}") }
        assertRefused("is not a whole number") { changed("tokenizer.max_length", "16.5") }
        assertRefused("is not true or false") { changed("tokenizer.lowercase", "\"true\"") }
        assertRefused("at most 31 bits") { changed("tokenizer.vocab_size", "4294967296") }
        assertRefused("must be one of pass, fail, unknown") { changed("artifacts.1.gate", "\"maybe\"") }
    }

    @Test
    fun refusesPartsThatContradictEachOther() {
        val faults =
            listOf(
                Triple("task.labels", "[]", "labels is empty or names"),
                Triple("task.labels", "[\"a\",\"a\"]", "labels is empty or names"),
                Triple("task.activation", "\"sigmoid\"", "does not belong to its kind"),
                Triple("task.thresholds", "[0.5,0.5]", "thresholds belong to a multi-label task"),
                Triple("task.pooling", "\"mean\"", "belongs to sentence vectors"),
                Triple("tokenizer.max_length", "1", "no room for the special tokens"),
                Triple("tokenizer.pad_id", "28", "pad_id is not in the vocabulary"),
                Triple("tokenizer.lowercase", "null", "belong to WordPiece"),
                Triple("tokenizer.type", "\"BPE\"", "belong to WordPiece"),
                Triple("tokenizer.file", "\"other.json\"", "does not list other.json"),
                Triple("artifacts", "[]", "artifacts is empty"),
                Triple("artifacts.1.lengths", "[16,8]", "must be ascending"),
                Triple("artifacts.1.lengths", "[8]", "no length holds"),
                Triple("artifacts.1.sha256", "\"xyz\"", "cannot be right"),
                Triple("artifacts.1.path", "\"vocab.txt\"", "names a file twice"),
            )
        for ((place, value, what) in faults) assertRefused(what) { changed(place, value) }
    }

    @Test
    fun refusesThresholdsThatAreNoProbabilities() {
        for (thresholds in listOf("[0.5]", "[0.5,1.5]", "[-0.1,0.5]", "null")) {
            val tiny = TinyBundle(temporary.newFolder())
            tiny.manifest("task.kind", "\"multi_label\"").manifest("task.activation", "\"sigmoid\"")
            assertRefused("thresholds") { tiny.manifest("task.thresholds", thresholds).write().open() }
        }
    }

    @Test
    fun refusesSentenceVectors() {
        assertRefused("gives sentence vectors and no labels") { changed("task.kind", "\"embedding\"") }
    }

    @Test
    fun refusesPathsThatLeaveTheFolder() {
        for (path in listOf("../x", "/etc/hostname", "a/../../x", "", "a\\\\b", "a\\u0000b", "a\\nb")) {
            assertRefused("may leave its folder") { changed("files.0.path", "\"$path\"") }
        }
    }

    @Test
    fun refusesLinks() {
        tiny.write()
        val outside = temporary.newFile("outside.txt")
        outside.writeBytes(file("vocab.txt").readBytes())
        file("vocab.txt").delete()
        Files.createSymbolicLink(file("vocab.txt").toPath(), outside.toPath())
        assertRefused("vocab.txt is a link") { tiny.open() }
    }

    @Test
    fun saysWhichFormatsThereAre() {
        tiny.write()
        assertRefused("no model in the format coreml, only onnx, tflite") {
            Bundle.open(FolderSource(tiny.folder), setOf("coreml"))
        }
    }

    @Test
    fun wantsTheArtifactsOfTheFormatsThatAreUsed() {
        tiny.write()
        assertRefused("model.onnx is missing") { Bundle.open(FolderSource(tiny.folder), setOf("tflite", "onnx")) }
    }

    @Test
    fun verifiesEveryFileOfAFolder() {
        val weights = ByteArray(20) { 7 }
        val listing = "${TinyBundle.sha256(weights)} 20 data/weights.bin\n"
        val folder =
            """{"path":"m.mlpackage","format":"coreml","recipe":"r","precision":"p","bytes":20,
            "sha256":"${TinyBundle.sha256(listing.encodeToByteArray())}","inputs":[],"outputs":[],"lengths":null,
            "minimum_runtime":{},"weights":{"elements":{},"float_weights":[]},"gate":"unknown",
            "files":[{"path":"m.mlpackage/data/weights.bin","bytes":20,"sha256":"${TinyBundle.sha256(weights)}"}]}"""
        tiny.manifest("artifacts.0", null)
        val written = TinyBundle(tiny.folder).manifest("artifacts", "[$folder]").write()
        file("m.mlpackage/data").mkdirs()
        file("m.mlpackage/data/weights.bin").writeBytes(weights)
        val open = { Bundle.open(FolderSource(written.folder), setOf("coreml")) }
        assertEquals("m.mlpackage", open().artifacts().single().path)
        file("m.mlpackage/data/weights.bin").writeBytes(ByteArray(20) { 8 })
        assertRefused("weights.bin was changed") { open() }
        val larger = folder.replace("\"bytes\":20,\n", "\"bytes\":21,\n")
        TinyBundle(tiny.folder).manifest("artifacts", "[$larger]").write()
        assertRefused("its files have other sizes") { open() }
    }

    /** Open a bundle with one field of its manifest changed. */
    private fun changed(place: String, value: String?) {
        TinyBundle(temporary.newFolder()).manifest(place, value).write().open()
    }
}
