"""The table at the end, followed by all failures."""


def show(rows, took):
    wide = max(len(row.name) for row in rows)
    said = max(len(row.version) for row in rows)
    print(f"\n{'client':{wide}}  {'version':{said}}  passed  failed  skipped  seconds")
    for row in rows:
        failed, skipped = len(row.failed) or "-", len(row.skipped) or "-"
        print(f"{row.name:{wide}}  {row.version:{said}}  {row.passed:6}  {failed:>6}  {skipped:>7}  {row.took:7.1f}")
    for row in rows:
        for name, why in row.skipped:
            print(f"\nskipped: {row.name}: {name}\n    {why}")
    for row in rows:
        for name, why in row.failed:
            print(f"\nFAILED: {row.name}: {name}\n    {why}")
    passed, failed = sum(row.passed for row in rows), sum(len(row.failed) for row in rows)
    print(f"\n{passed} checks passed, {failed} failed, in {took:.0f} s.")
