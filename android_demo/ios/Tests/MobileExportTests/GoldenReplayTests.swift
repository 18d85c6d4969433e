import XCTest

@testable import MobileExport

/// Replays a bundle's golden texts. The bundle is named by the environment variable
/// `MOBILE_EXPORT_BUNDLE`, the results file to write by `MOBILE_EXPORT_RESULTS`; with xcodebuild
/// both get the prefix `TEST_RUNNER_`. Where there is no Core ML, the text's side is tested alone.
final class GoldenReplayTests: XCTestCase {
  private func bundle() throws -> ModelBundle {
    guard let path = ProcessInfo.processInfo.environment["MOBILE_EXPORT_BUNDLE"] else {
      throw XCTSkip("MOBILE_EXPORT_BUNDLE names no bundle")
    }
    return try ModelBundle(folder: URL(fileURLWithPath: path))
  }

  func testEveryTextGivesTheGoldenIDs() throws {
    let bundle = try bundle()
    let golden = try Golden(bundle: bundle)
    let tokenizer = try WordPieceTokenizer(bundle: bundle)
    XCTAssertFalse(golden.cases.isEmpty)
    let wrong = golden.cases.filter { tokenizer.encode($0.text).ids != $0.ids }
    XCTAssertEqual(wrong.map(\.name), [])
  }

  func testSequencesArePaddedToTheShortestLengthThatHoldsThem() throws {
    let bundle = try bundle()
    let spec = bundle.manifest.tokenizer
    for artifact in bundle.artifacts {
      let model = RecordingModel(labels: bundle.manifest.task.labels.count)
      let classifier = try TextClassifier(bundle: bundle, artifact: artifact, model: model)
      for length in artifact.lengths ?? [spec.maxLength] {
        let ids = [Int32](repeating: 7, count: length - 1)
        let (inputIDs, attentionMask) = try classifier.padded(ids)
        let wanted = artifact.lengths == nil ? ids.count : length
        XCTAssertEqual(inputIDs.count, wanted)
        XCTAssertEqual(attentionMask.count, wanted)
        XCTAssertEqual(zip(inputIDs, attentionMask).filter { $1 == 1 }.map(\.0), ids)
        XCTAssertTrue(zip(inputIDs, attentionMask).allSatisfy { $1 == 1 || $0 == spec.padID })
      }
      if let longest = artifact.lengths?.last {
        XCTAssertThrowsError(try classifier.padded([Int32](repeating: 7, count: longest + 1)))
      }
      _ = try classifier.classify("a text")
      XCTAssertEqual(model.rows.count, 1)
    }
  }

  func testResultsAreWhatTheGateReads() async throws {
    let bundle = try bundle()
    let artifact = try bundle.artifact(
      ProcessInfo.processInfo.environment["MOBILE_EXPORT_ARTIFACT"])
    #if canImport(CoreML)
      let classifier = try await TextClassifier.coreML(
        bundle: bundle.folder, artifact: artifact.path)
      let environment = ["compute_units": "all"]
    #else
      let recorded = try RecordedModel(bundle: bundle, artifact: artifact)
      let classifier = try TextClassifier(bundle: bundle, artifact: artifact, model: recorded)
      let environment = ["runtime": "none: logits as recorded in golden.json"]
    #endif
    let results = try ReplayResults.replaying(bundle, with: classifier, environment: environment)
    XCTAssertEqual(results.artifacts[0].cases.count, try Golden(bundle: bundle).cases.count)
    let json = try results.json()
    if let path = ProcessInfo.processInfo.environment["MOBILE_EXPORT_RESULTS"] {
      try json.write(to: URL(fileURLWithPath: path), options: .atomic)
    }
    #if canImport(Darwin)
      // From a phone, the file comes back in the test's result bundle.
      let attachment = XCTAttachment(data: json, uniformTypeIdentifier: "public.json")
      attachment.name = "results.json"
      attachment.lifetime = .keepAlways
      add(attachment)
    #endif
  }
}
