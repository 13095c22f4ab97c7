/** From a fault of the domain, which knows no place, to an error that names it. */
import { isFault, type PinFault } from "../../domain/images/pins.ts";
import { UserError } from "../../runtime/errors.ts";

/** @throws UserError when the value is a fault */
export function requireRight<T extends object>(value: T | PinFault, where: string): T {
  if (isFault(value)) throw new UserError({ ...value, where });
  return value;
}

/** @throws UserError when there is a fault */
export function requireNone(fault: PinFault | undefined, where: string): void {
  if (fault !== undefined) throw new UserError({ ...fault, where });
}
