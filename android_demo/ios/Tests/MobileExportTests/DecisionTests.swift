import XCTest

@testable import MobileExport

final class DecisionTests: XCTestCase {
  private let three = TaskSpec(
    kind: .singleLabel, activation: .softmax, labels: ["a", "b", "c"], thresholds: nil,
    pooling: nil)
  private let many = TaskSpec(
    kind: .multiLabel, activation: .sigmoid, labels: ["a", "b", "c"], thresholds: [0.5, 0.2, 1],
    pooling: nil)

  func testSoftmaxSurvivesLargeLogits() {
    let shares = three.probabilities([1000, 1000, -1000])
    XCTAssertEqual(shares, [0.5, 0.5, 0])
  }

  func testSigmoidSurvivesLargeLogits() {
    XCTAssertEqual(many.probabilities([-1000, 1000, 0]), [0, 1, 0.5])
  }

  func testTheFirstOfEqualLogitsWins() {
    XCTAssertEqual(three.decisions([1, 2, 2]), [false, true, false])
  }

  func testWhatIsNoNumberIsTheLargest() {
    XCTAssertEqual(three.decisions([1, .nan, 2]), [false, true, false])
    XCTAssertEqual(many.decisions([.nan, 0, 0]), [false, true, false])
  }

  func testAProbabilityAtItsThresholdCounts() {
    XCTAssertEqual(many.decisions([0, -1, 30]), [true, true, false])
  }

  func testLabelsComeLikeliestFirst() throws {
    let encoding = Encoding(ids: [2, 3], isTruncated: false)
    let answer = try Classification(encoding: encoding, logits: [0, 2, 1], task: many)
    XCTAssertEqual(answer.labels, ["b", "a"])
    XCTAssertEqual(answer.ranking.map(\.label), ["b", "c", "a"])
  }

  func testAnotherNumberOfLogitsIsRefused() {
    let encoding = Encoding(ids: [2, 3], isTruncated: false)
    XCTAssertThrowsError(try Classification(encoding: encoding, logits: [0], task: three)) {
      XCTAssertEqual(
        "\($0)", "the model gave 1 logits. the bundle has 3 labels.")
    }
  }
}
