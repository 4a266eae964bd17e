// Rows of cells to the clipboard as CSV.
import { toast } from "./toast.js";

const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

export async function copyCsv(rows, words) {
  const text = rows.map((row) => row.map((value) => cell(String(value))).join(",")).join("\n") + "\n";
  try {
    await navigator.clipboard.writeText(text);
    toast(words, { state: "done" });
  } catch {
    // The clipboard needs a secure context; a file does as well.
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "hone.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}
