package dev.mobileexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import java.io.File
import java.security.MessageDigest

/**
 * A bundle of a few hundred bytes, whose files a test may change before or after they are hashed.
 *
 * Its model is no model: what runs is not the concern of whoever reads a bundle.
 */
internal class TinyBundle(val folder: File) {
    val files = linkedMapOf(
        "model.tflite" to ByteArray(300) { it.toByte() },
        "tokenizer.json" to TinyTokenizer.json().toString().encodeToByteArray(),
        "vocab.txt" to TinyTokenizer.VOCAB.joinToString("") { "$it\n" }.encodeToByteArray(),
        "golden.json" to GOLDEN.encodeToByteArray(),
    )

    private val changes = ArrayList<Pair<String, JsonElement?>>()

    /** Change a field of the manifest; see [with]. */
    fun manifest(path: String, value: String?): TinyBundle {
        changes += path to value?.let(Json::parseToJsonElement)
        return this
    }

    fun write(): TinyBundle {
        for ((name, bytes) in files) File(folder, name).apply { parentFile?.mkdirs() }.writeBytes(bytes)
        File(folder, "manifest.json").writeText(manifest().toString())
        return this
    }

    fun open(): Bundle = Bundle.open(FolderSource(folder))

    private fun manifest(): JsonObject {
        val entries =
            files.filterKeys { it != "model.tflite" }.map { (name, bytes) ->
                """{"path":"$name","bytes":${bytes.size},"sha256":"${sha256(bytes)}"}"""
            }
        val model = files.getValue("model.tflite")
        val plain =
            MANIFEST
                .replace("FILES", entries.joinToString(","))
                .replace("BYTES", "${model.size}")
                .replace("SHA256", sha256(model))
        return changes
            .fold(Json.parseToJsonElement(plain)) { value, (path, change) -> value.with(path, change) }
            .jsonObject
    }

    companion object {
        fun sha256(bytes: ByteArray): String =
            MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }

        private const val GOLDEN =
            """{"schema_version":1,"awkward_version":3,"cases":[
            {"name":"validation/0","set":"validation","text":"the cat","input_ids":[2,5,6,3],"targets":[1],
             "attention_mask":[1,1,1,1],"reference_logits":[0.5,1.5],"artifact_logits":{}},
            {"name":"awkward/half","set":"awkward","text":"a\ud800b","input_ids":[2,19,21,3],
             "attention_mask":[1,1,1,1],"reference_logits":[0.5,1.5],"artifact_logits":{}}]}"""

        private const val MANIFEST =
            """{"schema_version":2,"name":"tiny",
            "task":{"kind":"single_label","activation":"softmax","labels":["no","yes"],"thresholds":null,
              "pooling":null},
            "tokenizer":{"type":"WordPiece","file":"tokenizer.json","vocab":"vocab.txt","vocab_size":28,"max_length":16,
              "pad_id":0,"pad_side":"right","pad_token":"[PAD]","cls_token":"[CLS]","sep_token":"[SEP]",
              "unk_token":"[UNK]","mask_token":"[MASK]","cls_position":"first","token_types":"none",
              "lowercase":true,"strip_accents":true,"clean_text":true,"handle_chinese_chars":true,
              "lone_surrogates":"\ufffd"},
            "artifacts":[
              {"path":"model.onnx","format":"onnx","recipe":"float32","precision":"float32","bytes":9,
               "sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
               "inputs":[],"outputs":[],"lengths":null,"minimum_runtime":{"onnxruntime":"1.17.0"},
               "weights":{"elements":{},"float_weights":[],"stored":[]},"gate":"pass","files":[]},
              {"path":"model.tflite","format":"tflite","recipe":"int8","precision":"int8","bytes":BYTES,
               "sha256":"SHA256",
               "inputs":[{"name":"input_ids","dtype":"int32","shape":[1,"length"]}],
               "outputs":[{"name":"logits","dtype":"float32","shape":[1,2]}],
               "lengths":[8,16],"minimum_runtime":{"ai-edge-litert":"2.0.0"},
               "weights":{"elements":{},"float_weights":[],"stored":[]},"gate":"pass","files":[]}],
            "files":[FILES],
            "source":{"model":"m","architecture":"a","family":"bert","revision":null,"sha256":"x","parameters":1},
            "data":{"name":"d","sha256":"x","rows":{},"problems":{}},
            "metrics":{"accuracy":0.5},"tools":{"torch":"2"}}"""
    }
}

/**
 * A copy with one value changed, added or (null) taken away.
 *
 * @param path names and indices with dots between them.
 */
internal fun JsonElement.with(path: String, value: JsonElement?): JsonElement {
    val name = path.substringBefore('.')
    val rest = path.substringAfter('.', "")
    if (this is JsonArray) {
        return JsonArray(jsonArray.mapIndexed { i, item -> if (i == name.toInt()) item.with(rest, value) else item })
    }
    val fields = jsonObject.toMutableMap()
    if (rest.isNotEmpty()) {
        fields[name] = fields.getValue(name).with(rest, value)
    } else if (value == null) {
        fields.remove(name) ?: error("there is no $path to take away")
    } else {
        fields[name] = value
    }
    return JsonObject(fields)
}

internal fun json(value: Any): JsonElement =
    when (value) {
        is Boolean -> JsonPrimitive(value)
        is Number -> JsonPrimitive(value)
        is String -> JsonPrimitive(value)
        else -> error("not a plain value: $value")
    }

/** The sentence with which something is refused. */
internal fun refusal(action: () -> Unit): String {
    val sentence = assertThrows(BundleException::class.java) { action() }.message.orEmpty()
    assertFalse("not one line: $sentence", '\n' in sentence)
    return sentence
}

/** Check that something is refused with a sentence that says [what] and what to do. */
internal fun assertRefused(what: String, action: () -> Unit) {
    val sentence = refusal(action)
    assertTrue("\"$what\" is not in: $sentence", what in sentence)
    assertTrue("no advice in: $sentence", ADVICE.any { it in sentence })
}

private val ADVICE = listOf("; export", "; use", ", or export")
