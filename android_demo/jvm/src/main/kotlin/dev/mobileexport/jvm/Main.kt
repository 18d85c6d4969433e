package dev.mobileexport.jvm

import dev.mobileexport.core.Artifact
import dev.mobileexport.core.Bundle
import dev.mobileexport.core.BundleException
import dev.mobileexport.core.Classification
import dev.mobileexport.core.FolderSource
import dev.mobileexport.core.Replay
import dev.mobileexport.core.TextClassifier
import dev.mobileexport.core.Tokenizers
import java.io.IOException
import java.io.PrintStream
import java.nio.file.Path
import java.util.Locale
import kotlin.math.roundToInt
import kotlin.system.exitProcess

private const val USAGE = """usage:
  ids BUNDLE                                token ids of texts
  classify BUNDLE [--artifact NAME]         labels of texts
  classify BUNDLE TEXT [--artifact NAME]    labels of one text, for people
  replay BUNDLE --artifact NAME --out FILE  the golden cases, for `mobile-runtime parity replay`
Texts come on standard input, a JSON string on each line; an answer goes out for each, as JSON.
NAME is an artifact's file, recipe or precision; without one it is the smallest artifact."""

private const val FAILED = 2
private const val BAR = 40
private const val TENTHS = 10

/** The command line; see [USAGE]. A mistake of the user's is one line and status 2. */
public fun main(arguments: Array<String>) {
    try {
        val call = Call.parse(arguments.toList())
        when (call.command) {
            "ids" -> ids(call)
            "classify" -> classify(call)
            "replay" -> replay(call)
            else -> println(USAGE)
        }
    } catch (error: BundleException) {
        fail(error.message)
    } catch (error: IOException) {
        fail(error.message)
    }
}

private fun ids(call: Call) {
    val tokenizer = Tokenizers.of(call.bundle())
    output().use { out ->
        for (text in JsonLines.texts(System.`in`)) out.println(JsonLines.line(tokenizer.encode(text)))
    }
}

private fun classify(call: Call) {
    val bundle = call.bundle()
    val artifact = choose(bundle, call.artifact)
    open(bundle, call.source(), artifact).use { classifier ->
        output().use { out ->
            if (call.text != null) {
                show(classifier.classify(call.text), artifact, out)
            } else {
                for (text in JsonLines.texts(System.`in`)) {
                    out.println(JsonLines.line(classifier.classify(text)))
                }
            }
        }
    }
}

private fun replay(call: Call) {
    val out = call.out ?: throw BundleException("name the file to write: --out results.json")
    val bundle = call.bundle()
    val artifact = choose(bundle, call.artifact)
    open(bundle, call.source(), artifact).use { classifier ->
        val environment =
            mapOf(
                "runtime" to "LiteRT",
                "version" to property("mobileexport.litert.version"),
                "accelerator" to "CPU",
                "threads" to "1",
                "system" to "${System.getProperty("os.name")}, Java ${System.getProperty("java.version")}",
            )
        val results =
            Replay.run(bundle, artifact, classifier, HostMachine.read(), environment) { done, total ->
                // Ten lines in all are enough to see that it goes on.
                if (done * TENTHS / total != (done - 1) * TENTHS / total) {
                    System.err.println("$done of $total cases")
                }
            }
        Replay.write(results, out)
    }
}

/** The artifact of this file name, recipe or precision; without a name the smallest one. */
private fun choose(bundle: Bundle, name: String?): Artifact {
    val all = bundle.artifacts()
    if (name == null) return all.first()
    val found =
        all.filter { it.path == name }.ifEmpty {
            all.filter { name in listOf(it.recipe, it.precision) }
        }
    return found.singleOrNull()
        ?: throw BundleException(
            "there is no single TFLite artifact \"$name\"; name one of: ${all.joinToString { it.path }}",
        )
}

private fun open(bundle: Bundle, source: FolderSource, artifact: Artifact): TextClassifier {
    val tokenizer = Tokenizers.of(bundle)
    val library = Path.of(property("mobileexport.litert"))
    val model = HostLiteRtModel.open(library, source.file(artifact.path), artifact)
    return TextClassifier(tokenizer, model, bundle.manifest, artifact)
}

private fun show(answer: Classification, artifact: Artifact, out: PrintStream) {
    out.println(answer.labels.joinToString().ifEmpty { "(no label)" })
    val best = answer.top(answer.probabilities.size)
    val width = best.maxOf { it.label.length }
    for ((label, probability) in best) {
        val bar = "█".repeat((probability * BAR).roundToInt())
        out.println("  ${label.padEnd(width)}  ${"%.4f".format(Locale.ROOT, probability)}  $bar")
    }
    out.println(artifact.path + if (answer.truncated) ", the text was cut to the model's length" else "")
}

private fun output(): PrintStream = PrintStream(System.out.buffered(), false, Charsets.UTF_8)

private fun property(name: String): String =
    System.getProperty(name)
        ?: throw BundleException("$name is not set; start this with: python -m android_demo.toolchain jvm")

private fun fail(message: String?): Nothing {
    System.err.println("error: ${message.orEmpty().lines().joinToString(" ")}")
    exitProcess(FAILED)
}
