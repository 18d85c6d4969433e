package dev.mobileexport.core

import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject

/** manifest.json, read strictly: an unknown version, field or word is refused. */
internal object ManifestReader {
    private const val NEWEST_VERSION = 2
    private const val MOST_SHOWN = 40

    /** @throws BundleException the manifest is not valid. */
    fun read(bytes: ByteArray): Manifest {
        val value = parseJson(bytes, "manifest.json")
        val fields = Fields(value, "manifest")
        val version = version(value)
        val isOld = version == 1
        fields.required("schema_version", int)
        val manifest =
            Manifest(
                schemaVersion = version,
                name = fields.required("name", text),
                task = fields.required("task") { task, where -> task(task, where, isOld) },
                tokenizer = fields.required("tokenizer") { tokenizer, where -> tokenizer(tokenizer, where, isOld) },
                artifacts = fields.required("artifacts", list(::artifact)),
                files = fields.required("files", list(::file)),
            )
        fields.required("source") { source, where ->
            names(source, where, listOf("model", "architecture", "revision", "sha256", "parameters"), isOld, "family")
        }
        fields.required("data") { data, where -> names(data, where, listOf("name", "sha256", "rows", "problems")) }
        fields.required("metrics", map(double))
        fields.required("tools", map(text))
        fields.end()
        ManifestRules.check(manifest)
        return manifest
    }

    private fun version(value: JsonElement): Int {
        val found = (value as? JsonObject)?.get("schema_version")
        val version = found?.let { runCatching { int(it, "") }.getOrNull() }
        if (version != null && version in 1..NEWEST_VERSION) return version
        val shown = found.toString().take(MOST_SHOWN)
        throw BundleException(
            "manifest.json has schema version $shown and this app reads 1 to $NEWEST_VERSION; " +
                "use the release of this app that came with the exporter, or export the bundle again",
        )
    }

    private fun task(value: JsonElement, where: String, isOld: Boolean): Task {
        val fields = Fields(value, where)
        val kind = fields.required("kind", text)
        if (kind == "embedding") {
            throw BundleException("this bundle gives sentence vectors and no labels; export the model as a classifier")
        }
        val activation = fields.required("activation", text)
        val task =
            Task(
                kind = fields.required("kind", word(KINDS)),
                labels = fields.required("labels", list(text)),
                thresholds = fields.optional("thresholds", null, orNull(list(double))),
            )
        val pooling = if (isOld) null else fields.optional("pooling", null, orNull(text))
        if (pooling != null) throw BundleException("$where.pooling belongs to sentence vectors; $EXPORT_AGAIN")
        fields.end()
        if (activation != ACTIVATIONS.getValue(task.kind)) {
            throw BundleException("$where.activation ${quoted(activation)} does not belong to its kind; $EXPORT_AGAIN")
        }
        return task
    }

    private fun tokenizer(value: JsonElement, where: String, isOld: Boolean): TokenizerSpec {
        val fields = Fields(value, where)
        val spec =
            TokenizerSpec(
                type = fields.required("type", word(TYPES)),
                file = fields.required("file", text),
                vocab = fields.required("vocab", orNull(text)),
                vocabSize = fields.required("vocab_size", int),
                maxLength = fields.required("max_length", int),
                padId = fields.required("pad_id", int),
                padSide = fields.required("pad_side", word(SIDES)),
                // What the tokens are called was not said by version 1, which knew only BERT's.
                padToken = if (isOld) "[PAD]" else fields.required("pad_token", text),
                clsToken = fields.required("cls_token", text),
                sepToken = fields.required("sep_token", text),
                unkToken = fields.required("unk_token", text),
                maskToken = if (isOld) "[MASK]" else fields.required("mask_token", orNull(text)),
                clsFirst = isOld || fields.required("cls_position", word(POSITIONS)),
                lowercase = fields.required("lowercase", orNull(flag)),
                stripAccents = fields.required("strip_accents", orNull(flag)),
                cleanText = fields.required("clean_text", orNull(flag)),
                handleChineseChars = fields.required("handle_chinese_chars", orNull(flag)),
                loneSurrogates = fields.optional("lone_surrogates", "\uFFFD", text),
            )
        if (!isOld) fields.required("token_types", word(TOKEN_TYPES))
        fields.end()
        if (isOld && spec.padSide != PadSide.RIGHT) {
            throw BundleException("$where.pad_side must be right in schema version 1; $EXPORT_AGAIN")
        }
        return spec
    }

    private fun artifact(value: JsonElement, where: String): Artifact {
        val fields = Fields(value, where)
        val artifact =
            Artifact(
                path = fields.required("path", text),
                format = fields.required("format", text),
                recipe = fields.required("recipe", text),
                precision = fields.required("precision", text),
                bytes = fields.required("bytes", long),
                sha256 = fields.required("sha256", text),
                lengths = fields.required("lengths", orNull(list(int))),
                inputs = fields.required("inputs", list(::tensor)),
                outputs = fields.required("outputs", list(::tensor)),
                minimumRuntime = fields.required("minimum_runtime", map(text)),
                gate = fields.required("gate", word(VERDICTS)),
                files = fields.optional("files", emptyList(), list(::file)),
            )
        fields.required("weights") { weights, place ->
            names(weights, place, listOf("elements", "float_weights"), optional = listOf("stored"))
        }
        fields.end()
        return artifact
    }

    private fun tensor(value: JsonElement, where: String): TensorSpec {
        val fields = Fields(value, where)
        val axis: Reader<Int?> = { size, place ->
            // A free axis has a name, which says nothing that an app needs.
            runCatching { text(size, place) }.fold({ null }, { int(size, place) })
        }
        val tensor =
            TensorSpec(
                name = fields.required("name", text),
                dtype = fields.required("dtype", text),
                shape = fields.required("shape", list(axis)),
            )
        fields.end()
        return tensor
    }

    private fun file(value: JsonElement, where: String): FileEntry {
        val fields = Fields(value, where)
        val entry =
            FileEntry(
                path = fields.required("path", text),
                bytes = fields.required("bytes", long),
                sha256 = fields.required("sha256", text),
            )
        fields.end()
        return entry
    }

    /** An object that an app does not use; its fields still have to be the known ones. */
    private fun names(
        value: JsonElement,
        where: String,
        required: List<String>,
        isOld: Boolean = false,
        newer: String? = null,
        optional: List<String> = emptyList(),
    ) {
        val fields = Fields(value, where)
        for (name in required) fields.required(name, anything)
        for (name in optional) fields.optional(name, Unit, anything)
        if (newer != null && !isOld) fields.required(newer, anything)
        fields.end()
    }

    private val KINDS = mapOf("single_label" to TaskKind.SINGLE_LABEL, "multi_label" to TaskKind.MULTI_LABEL)
    private val ACTIVATIONS = mapOf(TaskKind.SINGLE_LABEL to "softmax", TaskKind.MULTI_LABEL to "sigmoid")
    private val SIDES = mapOf("left" to PadSide.LEFT, "right" to PadSide.RIGHT)
    private val POSITIONS = mapOf("first" to true, "last" to false)
    private val TYPES = listOf("WordPiece", "BPE", "Unigram").associateWith { it }
    private val TOKEN_TYPES = listOf("none", "in_graph").associateWith { it }
    private val VERDICTS = listOf("pass", "fail", "unknown").associateWith { it }
}
