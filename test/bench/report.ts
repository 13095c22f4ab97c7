/** How a measurement is shown. */

/** Name, value and what to hold it against. */
export type Row = [name: string, value: string, note: string];

/** Rows in columns. */
export function table(rows: readonly Row[]): string {
  return rows.map(([name, value, note]) => `  ${name.padEnd(22)} ${value.padStart(10)}   ${note}`).join("\n");
}

/** The endpoints that were asked most, each with its number of requests per node; one in four nodes is not worth a line. */
export function busiest(byEndpoint: Record<string, number>, nodes: number): string {
  return Object.entries(byEndpoint)
    .filter(([, count]) => count > nodes / 4)
    .sort(([, a], [, b]) => b - a)
    .map(([endpoint, count]) => `    ${(count / nodes).toFixed(1).padStart(5)}  ${endpoint}`)
    .join("\n");
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** Numbers with commas between. @throws Error for anything else */
export function numbersOf(flag: string, text: string): number[] {
  const numbers = text.split(",").map(Number);
  if (numbers.every((number) => Number.isInteger(number) && number > 0)) return numbers.sort((a, b) => a - b);
  throw new Error(`${flag} ${text}: whole numbers from 1 are wanted, with commas between`);
}
