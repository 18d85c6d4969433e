package dev.mobileexport.core

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

class TextClassifierTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private lateinit var bundle: Bundle

    @Before
    fun openBundle() {
        bundle = TinyBundle(temporary.newFolder("bundle")).write().open()
    }

    /** A bag of words: the second logit counts id 6, the first is half of the length that was run. */
    private class Counter(private val outputs: Int = 2) : TextModel {
        var lastLength = 0
        var isClosed = false

        override fun logits(inputIds: IntArray, attentionMask: IntArray): FloatArray {
            lastLength = inputIds.size
            val count = inputIds.indices.count { inputIds[it] == 6 && attentionMask[it] == 1 }
            return FloatArray(outputs) { if (it == 0) 0.5f else count.toFloat() }
        }

        override fun close() {
            isClosed = true
        }
    }

    private fun classifier(model: TextModel, manifest: Manifest = bundle.manifest) =
        TextClassifier(Tokenizers.of(bundle), model, manifest, bundle.artifacts().single())

    @Test
    fun goesFromTextToLabel() {
        val found = classifier(Counter()).classify("the cat")
        assertEquals(listOf("yes"), found.labels)
        assertArrayEquals(floatArrayOf(0.5f, 1f), found.logits, 0f)
        assertArrayEquals(floatArrayOf(0.37754068f, 0.62245935f), found.probabilities, 0f)
        assertEquals(listOf(LabelProbability("yes", 0.62245935f)), found.top(1))
        assertEquals(listOf("yes", "no"), found.top(9).map { it.label })
        assertArrayEquals(intArrayOf(2, 5, 6, 3), found.ids)
        assertFalse(found.truncated)
        assertTrue(classifier(Counter()).classify("cat ".repeat(20)).truncated)
    }

    @Test
    fun givesSeveralLabelsLikeliestFirst() {
        val task = Task(TaskKind.MULTI_LABEL, listOf("no", "yes"), listOf(0.5, 0.5))
        val manifest = bundle.manifest.copy(task = task)
        assertEquals(listOf("yes", "no"), classifier(Counter(), manifest).classify("cat").labels)
        assertEquals(listOf("no", "yes"), classifier(Counter(), manifest).classify("the").labels)
        val strict = manifest.copy(task = task.copy(thresholds = listOf(0.9, 0.9)))
        assertEquals(emptyList<String>(), classifier(Counter(), strict).classify("the").labels)
    }

    @Test
    fun runsTheSmallestLengthThatHoldsTheIds() {
        val model = Counter()
        classifier(model).classify("the ".repeat(6))
        assertEquals(8, model.lastLength)
        classifier(model).classify("the ".repeat(7))
        assertEquals(16, model.lastLength)
    }

    @Test
    fun refusesAModelWithOtherLabels() {
        assertRefused("model.tflite gives 3 numbers for 2 labels") { classifier(Counter(outputs = 3)).classify("") }
    }

    @Test
    fun refusesIdsThatAreTooMany() {
        assertRefused("a text of 17 ids does not fit") { classifier(Counter()).classify(Encoding(IntArray(17), false)) }
    }

    @Test
    fun closesItsModel() {
        val model = Counter()
        classifier(model).close()
        assertTrue(model.isClosed)
    }

    @Test
    fun padsOnTheSideThatTheManifestNames() {
        val right = Padding.pad(intArrayOf(2, 9, 3), listOf(4, 8), TinyTokenizer.SPEC.copy(padId = 7))
        assertArrayEquals(intArrayOf(2, 9, 3, 7), right.inputIds)
        assertArrayEquals(intArrayOf(1, 1, 1, 0), right.attentionMask)
        val onTheLeft = TinyTokenizer.SPEC.copy(padId = 7, padSide = PadSide.LEFT)
        val left = Padding.pad(intArrayOf(2, 9, 3), listOf(5), onTheLeft)
        assertArrayEquals(intArrayOf(7, 7, 2, 9, 3), left.inputIds)
        assertArrayEquals(intArrayOf(0, 0, 1, 1, 1), left.attentionMask)
        assertArrayEquals(intArrayOf(2, 3), Padding.pad(intArrayOf(2, 3), null, TinyTokenizer.SPEC).inputIds)
    }

    @Test
    fun replaysTheGoldenCases() {
        val seen = ArrayList<Pair<Int, Int>>()
        val machine = Machine("x86_64", "test", listOf("avx2"))
        val environment = mapOf("runtime" to "Counter", "version" to "1")
        val artifact = bundle.artifacts().single()
        val results =
            Replay.run(bundle, artifact, classifier(Counter()), machine, environment) { done, all ->
                seen += done to all
            }
        val file = File(temporary.root, "results.json")
        file.writeText("of an earlier run")
        Replay.write(results, file)
        assertEquals(listOf(1 to 2, 2 to 2), seen)
        assertEquals(listOf("bundle", "results.json"), temporary.root.list().orEmpty().sorted())

        val document = Json.parseToJsonElement(file.readText())
        val entry = document["artifacts"].jsonArray.single()
        assertEquals("1", document["schema_version"].toString())
        assertEquals(artifact.sha256, entry["sha256"].jsonPrimitive.content)
        assertEquals("x86_64", entry["machine"]["architecture"].jsonPrimitive.content)
        assertEquals("Counter", entry["environment"]["runtime"].jsonPrimitive.content)
        val cases = entry["cases"].jsonArray
        val wanted =
            """[{"name":"validation/0","logits":[0.5,1.0],"input_ids":[2,5,6,3],"labels":["yes"]},
            {"name":"awkward/half","logits":[0.5,0.0],"input_ids":[2,19,21,3],"labels":["no"]}]"""
        assertEquals(Json.parseToJsonElement(wanted), cases)
        assertEquals(2, (results + results).document()["artifacts"]?.jsonArray?.size)
    }

    private operator fun JsonElement.get(name: String): JsonElement = jsonObject.getValue(name)

    @Test
    fun writesNumbersThatJsonDoesNotHave() {
        val results = replayed(floatArrayOf(Float.NaN, Float.NEGATIVE_INFINITY))
        assertTrue("\"logits\":[\"nan\",\"-inf\"]" in results.toJson())
    }

    @Test
    fun floatsComeBackExactly() {
        for (value in listOf(0.1f, 1e-45f, Float.MAX_VALUE, 16777217f, -1.17549435E-38f)) {
            val document: JsonElement = replayed(floatArrayOf(value, 0f)).document()
            val case = document["artifacts"].jsonArray.single()["cases"].jsonArray.first()
            assertEquals(value, case["logits"].jsonArray[0].jsonPrimitive.content.toDouble().toFloat(), 0f)
        }
    }

    /** A replay with a model that always says the same. */
    private fun replayed(logits: FloatArray): ReplayResults {
        val model =
            object : TextModel {
                override fun logits(inputIds: IntArray, attentionMask: IntArray) = logits

                override fun close() = Unit
            }
        val environment = mapOf("runtime" to "r", "version" to "v")
        return Replay.run(bundle, bundle.artifacts().single(), classifier(model), Machine("x"), environment)
    }
}
