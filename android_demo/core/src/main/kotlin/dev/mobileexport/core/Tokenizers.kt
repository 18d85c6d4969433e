package dev.mobileexport.core

/** Makes the tokenizer of a bundle. */
public object Tokenizers {
    private const val WORD_PIECE = "WordPiece"
    private const val BPE = "BPE"

    /**
     * The tokenizer that gives the ids of Hugging Face's tokenizers.
     *
     * @throws BundleException it is of a kind that this app does not have, or the files that
     *   describe it contradict one another.
     */
    public fun of(bundle: Bundle): Tokenizer = of(bundle.manifest.tokenizer, bundle::readBytes)

    /**
     * @param spec the manifest's.
     * @param read the bytes of a file of the bundle.
     */
    internal fun of(spec: TokenizerSpec, read: (String) -> ByteArray): Tokenizer {
        if (spec.type != WORD_PIECE && spec.type != BPE) {
            throw BundleException(
                "the bundle's tokenizer is ${spec.type}, and this app has $WORD_PIECE and byte-level $BPE; " +
                    "export a model of the BERT or RoBERTa families",
            )
        }
        if (!spec.clsFirst) {
            throw BundleException(
                "the bundle's tokenizer puts ${spec.clsToken} last, and this app only puts it first; " +
                    "export a model of the BERT or RoBERTa families",
            )
        }
        val file = TokenizerFile.read(read(spec.file), spec.file, spec.type)
        val tokens = TokenizerAgreement.check(spec, file)
        spec.vocab?.let { TokenizerAgreement.checkVocab(it, read(it), tokens) }
        val normalizer = if (spec.type == WORD_PIECE) bertNormalizer(spec, file) else noNormalizer(file)
        return PipelineTokenizer(
            spec = spec,
            added = AddedTokens(file.addedTokens, normalizer),
            splitter = if (spec.type == WORD_PIECE) bertWords(file) else byteLevelWords(file),
            model = if (spec.type == WORD_PIECE) wordPiece(spec, file) else bytePairs(file),
            clsId = tokens.indexOf(spec.clsToken),
            sepId = tokens.indexOf(spec.sepToken),
        )
    }

    private fun bertNormalizer(spec: TokenizerSpec, file: TokenizerFile): Normalizer {
        val where = "${file.name}.normalizer"
        val (type, fields) = file.normalizer() ?: ("absent" to null)
        if (type != "BertNormalizer" || fields == null) {
            throw BundleException("$where is $type and must be BertNormalizer; $EXPORT_AGAIN")
        }
        val lowercase = fields.required("lowercase", flag)
        val found =
            listOf(
                lowercase,
                // Left open, accents go where capitals go.
                fields.optional("strip_accents", null, orNull(flag)) ?: lowercase,
                fields.required("clean_text", flag),
                fields.required("handle_chinese_chars", flag),
            )
        if (found != listOf(spec.lowercase, spec.stripAccents, spec.cleanText, spec.handleChineseChars)) {
            throw BundleException("$where has other flags than manifest.tokenizer; $EXPORT_AGAIN")
        }
        val (_, stripAccents, cleanText, handleChineseChars) = found
        return BertNormalizer(cleanText, handleChineseChars, stripAccents, lowercase)
    }

    private fun noNormalizer(file: TokenizerFile): Normalizer? {
        val (type, _) = file.normalizer() ?: return null
        throw unlike("${file.name}.normalizer", type, "none")
    }

    private fun bertWords(file: TokenizerFile): WordSplitter {
        val type = file.preTokenizer()?.first
        if (type != "BertPreTokenizer") throw unlike("${file.name}.pre_tokenizer", type, "BertPreTokenizer")
        return BertWords
    }

    private fun byteLevelWords(file: TokenizerFile): WordSplitter {
        val (type, fields) = file.preTokenizer() ?: (null to null)
        if (type != "ByteLevel" || fields == null) throw unlike("${file.name}.pre_tokenizer", type, "ByteLevel")
        return ByteLevelWords(
            addPrefixSpace = fields.required("add_prefix_space", flag),
            usePattern = fields.optional("use_regex", true, flag),
        )
    }

    private fun wordPiece(spec: TokenizerSpec, file: TokenizerFile): WordModel {
        val unknown = file.model("unk_token", "[UNK]", text)
        if (unknown != spec.unkToken) {
            throw BundleException(
                "${file.name} calls unknown words $unknown and the manifest ${spec.unkToken}; $EXPORT_AGAIN",
            )
        }
        return WordPieceModel(
            vocab = file.vocab,
            unkId = idOf(unknown, file),
            continuation = file.model("continuing_subword_prefix", "##", text),
            maxChars = file.model("max_input_chars_per_word", 100, int),
        )
    }

    private fun bytePairs(file: TokenizerFile): WordModel {
        val where = "${file.name}.model"
        for (name in listOf("continuing_subword_prefix", "end_of_word_suffix")) {
            val affix = file.model(name, null, orNull(text))
            if (!affix.isNullOrEmpty()) throw unlike("$where.$name", "\"$affix\"", "none")
        }
        if (file.model("byte_fallback", false, flag)) throw unlike("$where.byte_fallback", "true", "false")
        val dropout = file.model("dropout", null, orNull(double))
        if (dropout != null && dropout != 0.0) throw unlike("$where.dropout", "$dropout", "none")
        val unknown = file.model("unk_token", null, orNull(text))
        return BytePairModel(
            vocab = file.vocab,
            merges = BpeMerges.read(file),
            unkId = unknown?.let { idOf(it, file) },
            fusesUnknown = file.model("fuse_unk", false, flag),
            wholeWordsFirst = file.model("ignore_merges", false, flag),
        )
    }

    private fun idOf(token: String, file: TokenizerFile): Int =
        file.vocab[token] ?: throw BundleException("${file.name}.model has no token $token; $EXPORT_AGAIN")

    private fun unlike(where: String, found: String?, wanted: String) =
        BundleException(
            "$where is ${found ?: "absent"}, and this app follows $wanted; " +
                "use a checkpoint with the tokenizer of its family",
        )
}
