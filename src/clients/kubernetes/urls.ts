import { ports } from "../../../images/contract.ts";
import { inUrl } from "../../domain/model/address.ts";

/** RKE2's supervisor at a host name or an address. */
export const supervisorAt = (host: string): string => `https://${inUrl(host)}:${ports.supervisor}`;

/** The API server at a host name or an address. */
export const apiAt = (host: string): string => `https://${inUrl(host)}:${ports.api}`;
