import XCTest

@testable import MobileExport

final class SystemTests: XCTestCase {
  private func artifact(_ minimumRuntime: [String: String]) -> Artifact {
    Artifact(
      path: "model.mlpackage", format: "coreml", recipe: "float16", precision: "float16", bytes: 1,
      sha256: "", lengths: [64], inputs: [], outputs: [], minimumRuntime: minimumRuntime,
      gate: "pass", files: [])
  }

  func testASystemThatIsTooOldRunsNothingNewer() {
    XCTAssertTrue(System.runs(artifact([System.name: "1"])))
    XCTAssertFalse(System.runs(artifact([System.name: "999"])))
  }

  func testAnotherSystemsVersionSaysNothing() {
    XCTAssertTrue(System.runs(artifact(["another": "999"])))
  }
}
