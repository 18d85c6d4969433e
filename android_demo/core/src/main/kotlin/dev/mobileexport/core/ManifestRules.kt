package dev.mobileexport.core

/** What the types of a manifest cannot say. */
internal object ManifestRules {
    private const val SPECIAL_TOKENS = 2
    private val SHA256 = Regex("[0-9a-f]{64}")

    /** @throws BundleException parts of the manifest contradict each other. */
    fun check(manifest: Manifest) {
        checkTask(manifest.task)
        checkTokenizer(manifest.tokenizer)
        demand(manifest.artifacts.isNotEmpty()) { "manifest.artifacts is empty" }
        manifest.artifacts.forEach { checkArtifact(it, manifest.tokenizer.maxLength) }
        val entries =
            manifest.files +
                manifest.artifacts.map { FileEntry(it.path, it.bytes, it.sha256) } +
                manifest.artifacts.flatMap { it.files }
        for (entry in entries) {
            checkPath(entry.path)
            demand(entry.bytes >= 0 && SHA256.matches(entry.sha256)) {
                "manifest: the size or the SHA-256 of ${entry.path} cannot be right"
            }
        }
        val paths = entries.map { it.path }
        demand(paths.toSet().size == paths.size) { "manifest.json names a file twice" }
        for (path in listOfNotNull(manifest.tokenizer.file, manifest.tokenizer.vocab)) {
            // A file without a hash could be anything.
            demand(manifest.files.any { it.path == path }) { "manifest.files does not list $path" }
        }
    }

    private fun checkTask(task: Task) {
        val labels = task.labels
        demand(labels.isNotEmpty() && labels.toSet().size == labels.size) {
            "manifest.task.labels is empty or names a label twice"
        }
        val thresholds = task.thresholds
        demand((thresholds != null) == (task.kind == TaskKind.MULTI_LABEL)) {
            "manifest.task.thresholds belong to a multi-label task, one per label"
        }
        demand(thresholds == null || (thresholds.size == labels.size && thresholds.all { it in 0.0..1.0 })) {
            "manifest.task.thresholds must be one probability per label"
        }
    }

    private fun checkTokenizer(spec: TokenizerSpec) {
        demand(spec.maxLength >= SPECIAL_TOKENS) {
            "manifest.tokenizer.max_length leaves no room for the special tokens"
        }
        demand(spec.padId in 0 until spec.vocabSize) { "manifest.tokenizer.pad_id is not in the vocabulary" }
        val ofWordPiece =
            listOf(spec.vocab, spec.lowercase, spec.stripAccents, spec.cleanText, spec.handleChineseChars)
        val isWordPiece = spec.type == "WordPiece"
        demand(ofWordPiece.all { (it != null) == isWordPiece }) {
            "manifest.tokenizer: vocab and BertNormalizer's flags belong to WordPiece, " +
                "which has all of them, and the type is ${spec.type}"
        }
    }

    private fun checkArtifact(artifact: Artifact, maxLength: Int) {
        val lengths = artifact.lengths
        if (lengths != null) {
            demand(lengths.isNotEmpty() && lengths == lengths.toSortedSet().toList()) {
                "${artifact.path}: lengths must be ascending and not empty"
            }
            demand(lengths.last() >= maxLength) { "${artifact.path}: no length holds tokenizer.max_length ids" }
        }
        if (artifact.files.isEmpty()) return
        demand(artifact.bytes == artifact.files.sumOf { it.bytes }) {
            "${artifact.path}: its files have other sizes than it"
        }
        for (file in artifact.files) {
            demand(file.path.startsWith("${artifact.path}/")) { "${artifact.path}: ${file.path} is not inside it" }
        }
    }

    private inline fun demand(holds: Boolean, problem: () -> String) {
        if (!holds) throw BundleException("${problem()}; $EXPORT_AGAIN")
    }
}
