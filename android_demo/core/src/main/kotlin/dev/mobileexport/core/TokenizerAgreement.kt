package dev.mobileexport.core

/** Whether the manifest, tokenizer.json and vocab.txt speak of the same tokenizer. */
internal object TokenizerAgreement {
    /**
     * @return every token by id.
     * @throws BundleException the file contradicts the manifest.
     */
    fun check(spec: TokenizerSpec, file: TokenizerFile): List<String> {
        val tokens = file.tokensById()
        if (tokens.size != spec.vocabSize) {
            throw BundleException(
                "${file.name} has ${tokens.size} tokens and the manifest says ${spec.vocabSize}; $EXPORT_AGAIN",
            )
        }
        val known = tokens.toHashSet()
        val special = listOf(spec.padToken, spec.clsToken, spec.sepToken, spec.unkToken, spec.maskToken)
        for (token in special.filterNotNull()) {
            if (token !in known) throw BundleException("${file.name} has no token $token; $EXPORT_AGAIN")
        }
        if (tokens[spec.padId] != spec.padToken) {
            throw BundleException(
                "${file.name} has ${tokens[spec.padId]} at manifest.tokenizer.pad_id, not ${spec.padToken}; " +
                    EXPORT_AGAIN,
            )
        }
        val frame = listOf(tokens.indexOf(spec.clsToken)) to listOf(tokens.indexOf(spec.sepToken))
        if (file.frame() != frame) {
            throw BundleException(
                "${file.name} does not put ${spec.clsToken} before a text and ${spec.sepToken} after it, " +
                    "as the manifest says; $EXPORT_AGAIN",
            )
        }
        return tokens
    }

    /** @throws BundleException a line is not the token that tokenizer.json has there. */
    fun checkVocab(name: String, bytes: ByteArray, tokens: List<String>) {
        val wanted = tokens.joinToString("") { "$it\n" }.encodeToByteArray()
        if (!bytes.contentEquals(wanted)) {
            throw BundleException("$name has other tokens than the tokenizer's own file; $EXPORT_AGAIN")
        }
    }
}
