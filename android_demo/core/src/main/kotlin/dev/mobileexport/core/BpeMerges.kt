package dev.mobileexport.core

import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement

/** The merges of a BPE model; an early one is written `"a b"`, a newer one `["a", "b"]`. */
internal object BpeMerges {
    /** @throws BundleException a merge is written otherwise, or joins what is no token. */
    fun read(file: TokenizerFile): Map<Long, MergeRule> {
        val pairs = file.model("merges", emptyList(), list(::pair))
        val rules = HashMap<Long, MergeRule>(2 * pairs.size)
        pairs.forEachIndexed { rank, (left, right) ->
            val whole = id(file, left + right)
            rules[BytePairModel.key(id(file, left), id(file, right))] = MergeRule(rank, whole)
        }
        return rules
    }

    private fun pair(value: JsonElement, where: String): Pair<String, String> {
        val parts = if (value is JsonArray) list(text)(value, where) else text(value, where).split(' ')
        if (parts.size != 2) throw BundleException("$where is not two tokens; $EXPORT_AGAIN")
        return parts[0] to parts[1]
    }

    private fun id(file: TokenizerFile, token: String): Int =
        file.vocab[token]
            ?: throw BundleException("${file.name} merges ${quoted(token)}, which is no token; $EXPORT_AGAIN")
}
