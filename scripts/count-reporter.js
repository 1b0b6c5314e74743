/**
 * Ends a test run with plain lines: how many tests need the shared material and were skipped for lack of it, and the
 * whole count. A test that is skipped for another reason says in its name what is not installed.
 */
export default class CountReporter {
  onTestRunEnd(files) {
    const count = { passed: 0, failed: 0, skipped: 0 };
    let other = 0;
    for (const file of files) {
      const states = [...file.children.allTests()].map((test) => test.result().state);
      for (const state of states) count[state]++;
      for (const test of file.children.allTests('skipped')) if (test.name.includes('is not installed')) other++;
      // A file that cannot be loaded, or whose set-up fails, fails without a failed test.
      if (file.state() === 'failed' && !states.includes('failed')) count.failed++;
    }
    const { passed, failed, skipped } = count;
    if (!process.env.RESIDUAL_SHARED && skipped > other)
      console.log(
        `${skipped - other} tests need RESIDUAL_SHARED (the folder of shared test material) and were skipped`,
      );
    console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  }
}
